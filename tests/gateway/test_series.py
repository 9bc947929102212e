import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.series import BLOCK_BYTES, FIELDS, Points, SeriesReader, thinned, view
from shared.layout import RunFolder, Volume
from shared.records import LineWriter, SeriesPoint, write_record
from shared.spec import RunSpec


def point(step: int, loss: float = 1.0) -> SeriesPoint:
    return SeriesPoint(
        step=step, time=step, loss=loss, cross_entropy=loss, average_loss=loss, learning_rate=0.1, examples_per_second=1
    )


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def append(folder: RunFolder, *points: SeriesPoint) -> None:
    writer = LineWriter(folder.series)
    for each in points:
        writer.append(each)
    writer.close()


def columns(points: list[SeriesPoint]) -> Points:
    return np.array([[getattr(each, name) for each in points] for name in FIELDS], np.float64)


def steps(points: Points) -> list[int]:
    return [int(step) for step in points[0]]


def losses_of(points: Points) -> list[float]:
    return list(points[FIELDS.index("loss")])


def test_a_run_without_a_series_has_no_points(folder: RunFolder) -> None:
    assert SeriesReader().points(folder).shape == (len(FIELDS), 0)
    assert view("r", SeriesReader().points(folder)).step == []


def test_what_is_appended_is_read_on(folder: RunFolder) -> None:
    reader = SeriesReader()
    append(folder, point(10), point(20))
    assert steps(reader.points(folder)) == [10, 20]
    append(folder, point(30))
    assert steps(reader.points(folder)) == [10, 20, 30]


def test_of_a_step_that_stands_twice_the_later_line_counts(folder: RunFolder) -> None:
    append(folder, point(10, 1), point(20, 2), point(30, 3), point(20, 7), point(30, 8))
    found = SeriesReader().points(folder)
    assert list(zip(steps(found), losses_of(found), strict=True)) == [(10, 1), (20, 7), (30, 8)]


def test_what_a_lost_trainer_computed_beyond_its_checkpoint_is_gone(folder: RunFolder) -> None:
    reader = SeriesReader()
    append(folder, point(10), point(20), point(30))
    assert steps(reader.points(folder)) == [10, 20, 30]
    append(folder, point(20))
    assert steps(reader.points(folder)) == [10, 20]


def test_a_torn_last_line_is_read_once_it_is_whole(folder: RunFolder) -> None:
    reader = SeriesReader()
    line = point(20).model_dump_json()
    append(folder, point(10))
    with folder.series.open("a") as file:
        file.write(line[:30])
    assert steps(reader.points(folder)) == [10]
    with folder.series.open("a") as file:
        file.write(line[30:] + "\n")
    assert steps(reader.points(folder)) == [10, 20]


def test_a_series_that_began_anew_is_read_anew(folder: RunFolder) -> None:
    reader = SeriesReader()
    append(folder, point(10), point(20))
    reader.points(folder)
    folder.series.unlink()
    append(folder, point(5))
    assert steps(reader.points(folder)) == [5]


def test_only_a_few_series_stay_in_memory_and_the_others_are_read_again(tmp_path: Path) -> None:
    reader = SeriesReader(kept=1)
    folders = [RunFolder(tmp_path / name) for name in ("a", "b")]
    for each in folders:
        append(each, point(1))
    assert [steps(reader.points(each)) for each in (*folders, *folders)] == [[1]] * 4


def test_a_value_that_is_no_number_is_null_in_the_answer(folder: RunFolder) -> None:
    append(folder, point(1, float("nan")), point(2, float("inf")), point(3, 0.5))
    assert view("r", SeriesReader().points(folder)).loss == [None, None, 0.5]


def test_every_column_is_what_was_logged(folder: RunFolder) -> None:
    logged = SeriesPoint(
        step=10**12, time=1.5, loss=2.5, cross_entropy=3.5, average_loss=4.5, learning_rate=5.5, examples_per_second=6.5
    )
    append(folder, logged)
    shown = view("r", SeriesReader().points(folder)).model_dump(exclude={"run"})
    assert shown == {name: [value] for name, value in logged.model_dump().items()}


def test_lines_that_are_no_record_are_passed_over(folder: RunFolder) -> None:
    append(folder, point(10))
    with folder.series.open("ab") as file:
        file.write(b'{"step": 15, "lo\n\n[]\n{"step": 16}\n\xff\n')
    append(folder, point(20, float("inf")))
    found = SeriesReader().points(folder)
    assert (steps(found), losses_of(found)) == ([10, 20], [1.0, math.inf])


def test_a_series_of_many_blocks_is_read_whole(folder: RunFolder) -> None:
    lines = [point(step).model_dump_json() + "\n" for step in range(1000)]
    count = 1000 + 2 * BLOCK_BYTES // len(lines[-1])
    text = "".join(lines) + "".join(lines[-1].replace("999", str(step)) for step in range(1000, count))
    folder.series.parent.mkdir(parents=True)
    folder.series.write_text(text)
    assert len(text) > 2 * BLOCK_BYTES
    assert steps(SeriesReader().points(folder)) == list(range(count))


def test_what_was_given_out_does_not_change_when_more_is_read(folder: RunFolder) -> None:
    reader = SeriesReader()
    append(folder, point(10, 1), point(20, 2))
    before = reader.points(folder)
    append(folder, point(20, 7))
    assert losses_of(reader.points(folder)) == [1, 7]
    assert losses_of(before) == [1, 2]


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), max_size=200), st.integers(2, 50))
def test_thinning_keeps_ends_extremes_order_and_the_limit(losses: list[float], most: int) -> None:
    points = columns([point(step, loss) for step, loss in enumerate(losses)])
    kept = thinned(points, most)
    assert kept.shape[1] == min(len(losses), kept.shape[1], most)
    assert steps(kept) == sorted(set(steps(kept)))
    assert np.array_equal(kept, points[:, steps(kept)])
    if losses:
        assert (steps(kept)[0], steps(kept)[-1]) == (0, len(losses) - 1)
    if losses and most >= 4:
        assert max(losses_of(kept)) == max(losses)
        assert min(losses_of(kept)) == min(losses)


def test_of_each_piece_the_least_and_the_greatest_stay() -> None:
    losses = [9, 1, 5, 3, 2, 4, 8, 6, 7, 0]
    kept = thinned(columns([point(step, loss) for step, loss in enumerate(losses)]), 6)
    assert losses_of(kept) == [9, 1, 5, 4, 8, 0]


def test_a_diverged_point_counts_as_a_peak() -> None:
    points = [point(step, 1.0) for step in range(100)]
    points[50] = point(50, float("nan"))
    assert 50 in steps(thinned(columns(points), 10))


def spoil(folder: RunFolder) -> None:
    """Puts nonsense where the lines were, so that whoever reads them again finds nothing."""
    with folder.series.open("r+b") as file:
        file.write(b"x" * (folder.series.stat().st_size - 1))


def test_the_runs_that_were_written_to_last_are_read_ahead_and_not_once_more(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    folders = [volume.run(f"run-{number}") for number in range(4)]
    for second, folder in enumerate((folders[2], folders[0], folders[1])):
        write_record(folder.spec, RunSpec())
        append(folder, point(10), point(20))
        os.utime(folder.series, (second, second))
    write_record(folders[3].spec, RunSpec())  # has not begun
    reader = SeriesReader(kept=2)
    reader.read_ahead(volume, stopping=lambda: False)
    for folder in folders[:3]:
        spoil(folder)
    assert steps(reader.points(folders[0])) == [10, 20]
    assert steps(reader.points(folders[1])) == [10, 20]
    assert steps(reader.points(folders[2])) == []


def test_reading_ahead_ends_when_the_gateway_does_and_an_empty_volume_has_nothing_to_read(tmp_path: Path) -> None:
    volume, reader = Volume(tmp_path), SeriesReader()
    reader.read_ahead(volume, stopping=lambda: False)
    folder = volume.run("run")
    write_record(folder.spec, RunSpec())
    append(folder, point(10))
    reader.read_ahead(volume, stopping=lambda: True)
    spoil(folder)
    assert steps(reader.points(folder)) == []
