"""Files of events, read back by TensorBoard's own reader."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.eventfiles import EventFile, masked_crc, new_path, newest_file, replace_events, value_messages, whole_bytes
from shared.summaries import Histogram, Picture, Value, decode_step, encode_start, encode_values, encode_version
from tests.shared.board import read_board, scalars


def message(step: int, value: float | None = None) -> bytes:
    values: Mapping[str, Value] = {"curve": float(step) if value is None else value}
    return encode_values(values, step=step, time=1000.0 + step)


def write(folder: Path, *steps: int, void_from: int | None = None) -> Path:
    file = EventFile(folder, void_from=void_from)
    for step in steps:
        file.append(message(step))
    file.close()
    path = newest_file(folder)
    assert path is not None
    return path


def test_every_kind_of_value_is_read_back(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=1000)
    counts, edges = np.histogram(values, bins=30)
    pixels = np.random.default_rng(2).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, format="PNG")
    file = EventFile(tmp_path)
    file.append(
        encode_values(
            {
                "number": 0.5,
                "spread": Histogram(
                    low=float(values.min()),
                    high=float(values.max()),
                    total=float(values.sum()),
                    squares=float(np.square(values).sum()),
                    counts=counts.astype(np.float64),
                ),
                "picture": Picture(height=5, width=7, png=png.getvalue()),
            },
            step=2**40,
            time=1234.5,
        )
    )
    file.close()

    board = read_board(tmp_path)
    (number,) = board.Scalars("number")
    assert (number.step, number.value, number.wall_time) == (2**40, 0.5, 1234.5)
    (spread,) = board.Histograms("spread")
    found = spread.histogram_value
    assert (found.min, found.max, found.num) == (values.min(), values.max(), 1000)
    assert (found.sum, found.sum_squares) == pytest.approx((values.sum(), np.square(values).sum()))
    np.testing.assert_allclose(found.bucket_limit, edges[1:])
    assert list(found.bucket) == counts.tolist()
    (picture,) = board.Images("picture")
    assert (picture.height, picture.width) == (5, 7)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture.encoded_image_string))), pixels)


def test_numbers_that_are_not_finite_are_kept(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    for step, value in enumerate([np.nan, np.inf, 1e300]):
        file.append(message(step, value))
    file.close()
    assert [str(value) for _, value in scalars(tmp_path, "curve")] == ["nan", "inf", "inf"]


def test_checksum_is_castagnolis() -> None:
    # The check value of CRC-32C, turned and shifted as the format says.
    crc = 0xE3069283
    assert masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_a_folder_has_one_file_however_often_its_writer_comes_back(tmp_path: Path) -> None:
    for step in range(50):
        write(tmp_path, step, void_from=step)
    assert len(list(tmp_path.iterdir())) == 1
    assert [step for step, _ in scalars(tmp_path, "curve")] == list(range(50))


def test_nothing_is_made_before_there_is_something_to_write(tmp_path: Path) -> None:
    EventFile(tmp_path / "train").close()
    assert not (tmp_path / "train").exists()


def test_a_lost_branch_is_not_shown(tmp_path: Path) -> None:
    write(tmp_path, 10, 20, 30, 40)
    file = EventFile(tmp_path, void_from=21)
    file.append(message(30, -30.0), message(40, -40.0))
    file.close()
    assert scalars(tmp_path, "curve") == [(10, 10.0), (20, 20.0), (30, -30.0), (40, -40.0)]


def test_a_torn_end_is_cut_away_wherever_it_tore(tmp_path: Path) -> None:
    path = write(tmp_path / "whole", 1)
    kept = path.read_bytes()
    write(tmp_path / "whole", 2)
    data = path.read_bytes()
    for end in range(len(kept), len(data)):
        folder = tmp_path / str(end)
        folder.mkdir()
        (folder / path.name).write_bytes(data[:end])
        write(folder, 3)
        assert [step for step, _ in scalars(folder, "curve")] == [1, 3], end


def test_what_a_crash_of_the_machine_left_unwritten_is_cut_away(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    kept = path.stat().st_size
    write(tmp_path, 2)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size - 10] + b"\0" * 10)
    with path.open("rb") as file:
        assert whole_bytes(file) == kept
    write(tmp_path, 3)
    assert [step for step, _ in scalars(tmp_path, "curve")] == [1, 3]


def test_a_file_torn_in_its_first_record_begins_anew(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:20])
    write(tmp_path, 2)
    assert scalars(tmp_path, "curve") == [(2, 2.0)]


def test_a_write_that_failed_is_mended_by_the_next(tmp_path: Path) -> None:
    write(tmp_path, 1)
    file = EventFile(tmp_path)
    moved = tmp_path.with_name("away")
    tmp_path.rename(moved)
    tmp_path.write_text("not a folder")
    with pytest.raises(OSError):
        file.append(message(2))
    tmp_path.unlink()
    moved.rename(tmp_path)
    file.append(message(3))
    file.close()
    assert [step for step, _ in scalars(tmp_path, "curve")] == [1, 3]


def test_a_new_file_comes_last_even_if_the_clock_was_set_back(tmp_path: Path) -> None:
    first = new_path(tmp_path, time=lambda: 5000.0)
    first.touch()
    assert new_path(tmp_path, time=lambda: 4000.0) > first


def test_replaced_events_void_the_old_ones_which_readers_may_still_hold(tmp_path: Path) -> None:
    old = write(tmp_path, 30, 40)
    data = old.read_bytes()
    replace_events(tmp_path, [message(step) for step in (10, 30, 40)])
    assert old.read_bytes() == data
    assert [step for step, _ in scalars(tmp_path, "curve")] == [10, 30, 40]


def test_values_are_found_again_by_step(tmp_path: Path) -> None:
    path = write(tmp_path, 0, 127, 128, 2**40)
    write(tmp_path, 2**41, void_from=128)
    assert value_messages(path) == {step: message(step) for step in (0, 127, 2**41)}


def test_messages_tell_their_step_and_what_they_are() -> None:
    assert decode_step(message(300)) == (300, False)
    assert decode_step(encode_start(step=300, time=0.0)) == (300, True)
    assert decode_step(encode_version(time=0.0)) is None


def test_of_many_replacements_two_files_are_left(tmp_path: Path) -> None:
    write(tmp_path, 1)
    for _ in range(5):
        replace_events(tmp_path, [message(1)])
    assert len(list(tmp_path.iterdir())) == 2


def test_an_event_file_of_what_is_deleted_in_that_instant_does_not_bring_it_back(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()

    def time() -> float:
        if run.exists():
            run.rmdir()
        return 1.0

    file = EventFile(run / "tensorboard" / "eval", time=time, within=run)
    with pytest.raises(FileNotFoundError):
        file.append(b"")
    assert not run.exists()
