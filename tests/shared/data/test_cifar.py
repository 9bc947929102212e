import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.atomic import Digest
from shared.data.catalog import open_dataset
from shared.data.checksums import Checksums
from shared.data.cifar import CIFAR10, open_cifar
from shared.errors import DatasetCorruptError, DatasetMissingError
from shared.layout import Volume
from shared.records import FileRecord, write_record
from shared.spec import DatasetSpec

Write = Callable[..., Path]


NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def flip(path: Path, *, byte: int) -> None:
    """Inverts one byte and sets the file's time back, as damage on a disk would leave it."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[byte] ^= 0xFF
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def sealed(folder: Path) -> Path:
    """Writes `checksums.json` as a download does."""
    digests = {path.name: Digest.of(path.read_bytes()) for path in folder.iterdir()}
    files = {name: FileRecord(size=digest.size, sha256=digest.sha256) for name, digest in digests.items()}
    record = Checksums(source="https://example.org/x", archive=FileRecord(size=0, sha256="0" * 64), files=files)
    write_record(folder / "checksums.json", record)
    return folder


def rows_of(path: Path) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 3073)


def test_gather_turns_planes_into_pixels_and_crosses_the_border_between_files(cifar10: Path, volume: Volume):
    dataset = open_dataset(DatasetSpec(path=str(cifar10)), volume=volume)
    rows = np.concatenate([rows_of(cifar10 / f"data_batch_{number}.bin") for number in (1, 2)])
    order = np.array([11, 0, 6, 7, 0, 3])

    images, labels = dataset.train.gather(order)

    assert images.dtype == np.uint8 and images.shape == (6, 32, 32, 3) and images.flags.c_contiguous
    assert labels.dtype == np.int32
    for image, label, row in zip(images, labels, rows[order], strict=True):
        assert label == row[0]
        for y, x, channel in ((0, 0, 0), (0, 1, 0), (1, 0, 1), (31, 31, 2), (5, 17, 1)):
            assert image[y, x, channel] == row[1 + channel * 1024 + y * 32 + x]


def test_gathered_examples_are_the_callers_own(cifar10: Path, volume: Volume):
    train = open_dataset(DatasetSpec(path=str(cifar10)), volume=volume).train
    before, labels = train.gather(np.array([1, 2]))
    kept = before.copy()
    before[:] = 0
    labels[:] = 0
    again, _ = train.gather(np.array([1, 2]))
    assert np.array_equal(again, kept)


def test_describes_lengths_classes_and_shape(cifar10: Path, volume: Volume):
    dataset = open_dataset(DatasetSpec(path=str(cifar10)), volume=volume)
    assert (len(dataset.train), len(dataset.test)) == (12, 4)
    assert dataset.classes[0] == "airplane" and len(dataset.classes) == 10
    assert dataset.train.image_shape == (32, 32, 3)
    assert dataset.kind == "cifar10"


def test_index_out_of_range_is_refused(cifar10: Path, volume: Volume):
    train = open_dataset(DatasetSpec(path=str(cifar10)), volume=volume).train
    with pytest.raises(IndexError):
        train.gather(np.array([12]))


def test_negative_index_counts_from_the_end(cifar10: Path, volume: Volume):
    train = open_dataset(DatasetSpec(path=str(cifar10)), volume=volume).train
    assert np.array_equal(train.gather(np.array([-1]))[0], train.gather(np.array([11]))[0])


def test_gathering_nothing_gives_empty_arrays(cifar10: Path, volume: Volume):
    images, labels = open_dataset(DatasetSpec(path=str(cifar10)), volume=volume).train.gather(
        np.array([], dtype=np.int64)
    )
    assert images.shape == (0, 32, 32, 3) and labels.shape == (0,)


def test_path_may_be_the_parent_of_the_official_folder(write_cifar10: Write, volume: Volume, tmp_path: Path):
    write_cifar10(tmp_path / "downloads" / "cifar-10-batches-bin")
    assert len(open_dataset(DatasetSpec(path=str(tmp_path / "downloads")), volume=volume).train) == 12


def test_without_a_path_the_volume_is_looked_at(write_cifar10: Write, volume: Volume):
    write_cifar10(volume.datasets / "cifar10")
    assert len(open_dataset(DatasetSpec(), volume=volume).train) == 12


def test_training_files_may_be_fewer_than_five_but_not_none(write_cifar10: Write, volume: Volume, tmp_path: Path):
    folder = write_cifar10(tmp_path / "few", train=(7, 5, 1))
    (folder / "data_batch_2.bin").unlink()
    assert len(open_dataset(DatasetSpec(path=str(folder)), volume=volume).train) == 8
    (folder / "data_batch_1.bin").unlink()
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(DatasetMissingError, match=r"no data_batch_1\.bin"):
        open_dataset(DatasetSpec(path=str(folder)), volume=volume)


@pytest.mark.parametrize("name", ["test_batch.bin", "batches.meta.txt"])
def test_missing_file_is_named_with_the_places_looked_at(cifar10: Path, volume: Volume, name: str):
    (cifar10 / name).unlink()
    with pytest.raises(DatasetMissingError, match=name) as caught:
        open_dataset(DatasetSpec(path=str(cifar10)), volume=volume)
    assert caught.value.where == str(cifar10)
    assert "cifar-10-batches-bin" in caught.value.message


@settings(max_examples=20, deadline=None)
@given(train=st.lists(st.integers(1, 9), min_size=1, max_size=5), test=st.integers(1, 9))
def test_any_number_of_records_is_read(
    write_cifar10: Write, tmp_path_factory: pytest.TempPathFactory, train: list[int], test: int
):
    folder = write_cifar10(tmp_path_factory.mktemp("any"), train=tuple(train), test=test)
    dataset = open_cifar(CIFAR10, folder, notes=folder)
    assert (len(dataset.train), len(dataset.test)) == (sum(train), test)
    images, labels = dataset.train.gather(np.arange(sum(train)))
    rows = np.concatenate([rows_of(folder / f"data_batch_{n}.bin") for n in range(1, len(train) + 1)])
    assert np.array_equal(labels, rows[:, 0])
    assert np.array_equal(images.transpose(0, 3, 1, 2).reshape(len(rows), -1), rows[:, 1:])


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(1, 7 * 3073))
def test_f44_file_cut_short_is_found_unless_the_cut_falls_between_records(
    write_cifar10: Write, tmp_path_factory: pytest.TempPathFactory, cut: int
):
    folder = write_cifar10(tmp_path_factory.mktemp("cut"))
    path = folder / "data_batch_1.bin"
    path.write_bytes(path.read_bytes()[:-cut])
    left = 7 * 3073 - cut
    if left and left % 3073 == 0:
        assert len(open_cifar(CIFAR10, folder, notes=folder).train) == left // 3073 + 5
        return
    with pytest.raises(DatasetCorruptError) as caught:
        open_cifar(CIFAR10, folder, notes=folder)
    assert caught.value.where == str(path)
    if left:
        assert f"begins at byte {left // 3073 * 3073:,} and has only {left % 3073:,} bytes" in caught.value.message


@settings(max_examples=40, deadline=None)
@given(record=st.integers(0, 6), label=st.integers(10, 255))
def test_bad_label_is_named_by_file_record_and_byte(
    write_cifar10: Write, tmp_path_factory: pytest.TempPathFactory, record: int, label: int
):
    folder = write_cifar10(tmp_path_factory.mktemp("label"))
    path = folder / "data_batch_1.bin"
    rows = rows_of(path).copy()
    rows[record, 0] = label
    path.write_bytes(rows.tobytes())
    with pytest.raises(DatasetCorruptError, match=f"the label is {label}, not one of 0-9") as caught:
        open_cifar(CIFAR10, folder, notes=folder)
    assert caught.value.where == str(path)
    assert f"record {record} (from 0), byte {record * 3073:,}:" in caught.value.message


def test_f44_extra_bytes_at_the_end_are_found(cifar10: Path, volume: Volume):
    with (cifar10 / "test_batch.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DatasetCorruptError, match="after 4 whole records, record 4"):
        open_dataset(DatasetSpec(path=str(cifar10)), volume=volume)


@pytest.mark.parametrize("text", ["", "a\n" * 10, "\n".join("abcdefghi"), "\n".join("abcdefghijk")])
def test_class_names_must_be_ten_different_ones(cifar10: Path, volume: Volume, text: str):
    (cifar10 / "batches.meta.txt").write_text(text)
    with pytest.raises(DatasetCorruptError, match="instead of 10") as caught:
        open_dataset(DatasetSpec(path=str(cifar10)), volume=volume)
    assert caught.value.where == str(cifar10 / "batches.meta.txt")


def test_class_names_that_are_not_text_are_refused(cifar10: Path, volume: Volume):
    (cifar10 / "batches.meta.txt").write_bytes(b"air\xffplane\n")
    with pytest.raises(DatasetCorruptError, match="byte 3 is not UTF-8"):
        open_dataset(DatasetSpec(path=str(cifar10)), volume=volume)


def test_fingerprint_follows_content_and_not_place(write_cifar10: Write, tmp_path: Path, volume: Volume):
    first, second = write_cifar10(tmp_path / "a"), write_cifar10(tmp_path / "b" / "cifar-10-batches-bin").parent

    def fingerprint(folder: Path) -> str:
        return open_dataset(DatasetSpec(path=str(folder)), volume=volume).fingerprint

    before = fingerprint(first)
    assert fingerprint(second) == before
    flip(first / "data_batch_2.bin", byte=5000)
    assert fingerprint(first) != before


def test_files_that_match_their_checksums_are_opened(cifar10: Path, volume: Volume):
    assert len(open_dataset(DatasetSpec(path=str(sealed(cifar10))), volume=volume).train) == 12


@pytest.mark.parametrize("name", ["data_batch_1.bin", "test_batch.bin", "batches.meta.txt"])
def test_f44_flipped_byte_in_a_downloaded_file_is_found(cifar10: Path, volume: Volume, name: str):
    flip(sealed(cifar10) / name, byte=40)
    with pytest.raises(DatasetCorruptError, match="has changed since it was verified") as caught:
        open_dataset(DatasetSpec(path=str(cifar10)), volume=volume)
    assert caught.value.where == str(cifar10 / name)


def test_f44_downloaded_file_that_went_missing_is_found(cifar10: Path, volume: Volume):
    (sealed(cifar10) / "data_batch_2.bin").unlink()
    with pytest.raises(DatasetCorruptError, match="is missing"):
        open_dataset(DatasetSpec(path=str(cifar10)), volume=volume)


def test_file_that_joined_a_downloaded_set_is_found(cifar10: Path, volume: Volume):
    (sealed(cifar10) / "data_batch_3.bin").write_bytes((cifar10 / "data_batch_1.bin").read_bytes())
    with pytest.raises(DatasetCorruptError, match=r"is not listed in checksums\.json"):
        open_dataset(DatasetSpec(path=str(cifar10)), volume=volume)


def test_checksums_that_are_no_record_are_refused(cifar10: Path, volume: Volume):
    (cifar10 / "checksums.json").write_text("{")
    with pytest.raises(DatasetCorruptError, match="not JSON"):
        open_dataset(DatasetSpec(path=str(cifar10)), volume=volume)


def test_cifar100_answers_with_fine_labels(tmp_path: Path, volume: Volume):
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    for name, count in (("train.bin", 6), ("test.bin", 3)):
        rows = rng.integers(0, 256, (count, 3074), dtype=np.uint8)
        rows[:, 0], rows[:, 1] = 19, np.arange(count) + 90
        (folder / name).write_bytes(rows.tobytes())
    (folder / "fine_label_names.txt").write_text("\n".join(f"name {n}" for n in range(100)))
    spec = DatasetSpec(kind="cifar100", path=str(tmp_path))

    dataset = open_dataset(spec, volume=volume)
    images, labels = dataset.train.gather(np.arange(6))

    assert labels.tolist() == [90, 91, 92, 93, 94, 95] and len(dataset.classes) == 100
    raw = np.frombuffer((folder / "train.bin").read_bytes(), np.uint8).reshape(6, 3074)
    assert np.array_equal(images[:, 0, 0, 0], raw[:, 2])

    damaged = raw.copy()
    damaged[2, 0] = 20
    (folder / "train.bin").write_bytes(damaged.tobytes())
    with pytest.raises(DatasetCorruptError, match="the coarse label is 20, not one of 0-19"):
        open_dataset(spec, volume=volume)


def test_threads_that_read_at_once_get_what_one_alone_gets(cifar10: Path, volume: Volume):
    train = open_dataset(DatasetSpec(path=str(cifar10)), volume=volume).train
    alone = [train.gather(np.arange(n % 12, 12)) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda n: train.gather(np.arange(n % 12, 12)), range(200)))
    for (images, labels), (their_images, their_labels) in zip(alone, together, strict=True):
        assert np.array_equal(images, their_images) and np.array_equal(labels, their_labels)


@pytest.mark.photographs
def test_real_photographs_open_whole_and_within_seconds(volume: Volume):
    place = os.environ.get("TANDEM_CIFAR10_DIR")
    if not place:
        pytest.skip("TANDEM_CIFAR10_DIR names no folder with CIFAR-10 in its binary layout")
    begin = time.monotonic()
    dataset = open_dataset(DatasetSpec(path=place), volume=volume)
    seconds = time.monotonic() - begin
    images, labels = dataset.train.gather(np.arange(0, len(dataset.train), 50))
    assert dataset.classes == NAMES
    assert len(dataset.train) == 50_000 and len(dataset.test) >= 1_000
    assert sorted(set(labels.tolist())) == list(range(10))
    # Photographs are smooth where noise and wrongly read planes are not: neighbours differ by far less than strangers.
    pixels = images.astype(np.int16)
    beside = np.abs(np.diff(pixels, axis=2)).mean()
    apart = np.abs(pixels - np.roll(pixels, 16, axis=2)).mean()
    assert beside < apart / 2
    assert seconds < 10
