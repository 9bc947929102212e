from pathlib import Path

import numpy as np
import pytest

from shared.data.catalog import open_dataset
from shared.data.examples import Dataset
from shared.errors import DatasetCorruptError, DatasetMissingError
from shared.layout import Volume
from shared.spec import DatasetSpec


def arrays(channels: int | None = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    last = () if channels is None else (channels,)
    return {
        "x_train": rng.integers(0, 256, (6, 10, 12, *last), dtype=np.uint8),
        "y_train": np.array([[0], [1], [2], [0], [1], [2]], np.uint8),
        "x_test": rng.integers(0, 256, (2, 10, 12, *last), dtype=np.uint8),
        "y_test": np.array([2, 0], np.int64),
    }


def opened(path: Path, volume: Volume, **more: object) -> Dataset:
    return open_dataset(DatasetSpec.model_validate({"kind": "npz", "path": str(path), **more}), volume=volume)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_as_keras_writes_them_are_read(tmp_path: Path, volume: Volume, save):
    values = arrays()
    save(tmp_path / "data.npz", **values)
    dataset = opened(tmp_path / "data.npz", volume)
    images, labels = dataset.train.gather(np.array([3, 1]))
    assert np.array_equal(images, values["x_train"][[3, 1]])
    assert labels.tolist() == [0, 1] and labels.dtype == np.int32
    assert dataset.test.gather(np.array([0, 1]))[1].tolist() == [2, 0]
    assert dataset.classes == ("0", "1", "2")


@pytest.mark.parametrize("channels", [None, 1])
def test_grey_pictures_come_with_three_channels(tmp_path: Path, volume: Volume, channels: int | None):
    values = arrays(channels)
    np.savez(tmp_path / "data.npz", **values)
    images, _ = opened(tmp_path / "data.npz", volume).train.gather(np.arange(6))
    assert np.array_equal(images[..., 2].reshape(-1), values["x_train"].reshape(-1))


def test_folder_with_one_file_will_do_and_two_are_ambiguous(tmp_path: Path, volume: Volume):
    np.savez(tmp_path / "a.npz", **arrays())
    assert len(opened(tmp_path, volume).train) == 6
    np.savez(tmp_path / "b.npz", **arrays())
    with pytest.raises(DatasetMissingError, match=r"2 \.npz files"):
        opened(tmp_path, volume)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x_train", np.zeros((6, 10, 12, 3), np.float32), "is of float32, not of uint8"),
        ("x_train", np.zeros((6, 10, 12, 4), np.uint8), r"has the shape \[6, 10, 12, 4\]"),
        ("x_train", np.zeros((0, 10, 12, 3), np.uint8), r"has the shape \[0, 10, 12, 3\]"),
        ("x_train", np.asfortranarray(np.zeros((6, 10, 12, 3), np.uint8)), "in Fortran order"),
        ("x_test", np.zeros((2, 10, 10, 3), np.uint8), "x_test of"),
        ("y_train", np.zeros(5, np.int64), "one for each picture"),
        ("y_train", np.zeros(6, np.float64), "integers"),
        ("y_train", np.array([0, 1, 2, 0, -1, 2]), r"label 4 \(from 0\) is -1"),
        ("y_train", np.array([{}] * 6, dtype=object), "bytes of integers"),
        ("y_test", np.array([0, 3]), "a label is 3, and the training labels know only 3"),
    ],
)
def test_array_that_is_not_what_it_should_be_is_named(
    tmp_path: Path, volume: Volume, name: str, value: np.ndarray, message: str
):
    np.savez(tmp_path / "data.npz", **{**arrays(), name: value}, allow_pickle=True)
    with pytest.raises(DatasetCorruptError, match=message) as caught:
        opened(tmp_path / "data.npz", volume)
    assert "data.npz" in str(caught.value.where)


def test_missing_array_is_named_with_those_that_are_there(tmp_path: Path, volume: Volume):
    np.savez(tmp_path / "data.npz", images=np.zeros(3))
    with pytest.raises(DatasetCorruptError, match="has no array x_train; it has images"):
        opened(tmp_path / "data.npz", volume)


@pytest.mark.parametrize("cut", [10, 3000])
def test_file_cut_short_is_named(tmp_path: Path, volume: Volume, cut: int):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays())
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DatasetCorruptError, match=r"cannot be read as \.npz"):
        opened(path, volume)


def test_flipped_byte_is_found_by_the_archives_own_checksum(tmp_path: Path, volume: Volume):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays())
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetCorruptError, match="CRC"):
        opened(path, volume)
    assert not [entry for entry in volume.dataset_cache.iterdir() if entry.name != ".lock"]
