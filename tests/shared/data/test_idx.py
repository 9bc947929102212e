import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.data.cache import ArrayCache
from shared.data.catalog import open_dataset
from shared.data.examples import Dataset
from shared.data.idx import open_idx
from shared.errors import DatasetCorruptError, DatasetMissingError
from shared.layout import Volume
from shared.spec import DatasetSpec


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def write_mnist(root: Path, *, compressed: bool, train: int = 6, test: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    arrays = {
        "train-images-idx3-ubyte": rng.integers(0, 256, (train, 28, 28)),
        "train-labels-idx1-ubyte": np.arange(train) % 5,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (test, 28, 28)),
        "t10k-labels-idx1-ubyte": np.arange(test) % 5,
    }
    root.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if compressed:
            (root / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (root / name).write_bytes(idx(array))
    return arrays


def opened(root: Path, volume: Volume, **more: object) -> Dataset:
    return open_dataset(DatasetSpec.model_validate({"kind": "idx", "path": str(root), **more}), volume=volume)


@pytest.mark.parametrize("compressed", [False, True])
def test_grey_pictures_come_with_three_equal_channels(tmp_path: Path, volume: Volume, compressed: bool):
    arrays = write_mnist(tmp_path / "mnist", compressed=compressed)
    dataset = opened(tmp_path / "mnist", volume)
    images, labels = dataset.train.gather(np.array([5, 0, 2]))
    assert images.shape == (3, 28, 28, 3) and dataset.train.image_shape == (28, 28, 3)
    for channel in range(3):
        assert np.array_equal(images[..., channel], arrays["train-images-idx3-ubyte"][[5, 0, 2]])
    assert labels.tolist() == [0, 0, 2] and labels.dtype == np.int32
    assert dataset.classes == ("0", "1", "2", "3", "4") and len(dataset.test) == 3


def test_plain_files_are_mapped_and_compressed_ones_unpacked_once(tmp_path: Path, volume: Volume):
    write_mnist(tmp_path / "plain", compressed=False)
    opened(tmp_path / "plain", volume)
    assert not volume.dataset_cache.exists()
    write_mnist(tmp_path / "packed", compressed=True)
    for _ in range(2):
        opened(tmp_path / "packed", volume)
    assert len([path for path in volume.dataset_cache.iterdir() if path.is_dir()]) == 1


def test_names_of_the_classes_come_from_the_spec(tmp_path: Path, volume: Volume):
    write_mnist(tmp_path / "mnist", compressed=False)
    names = ["a", "b", "c", "d", "e", "f"]
    assert opened(tmp_path / "mnist", volume, classes=names).classes == tuple(names)
    with pytest.raises(DatasetCorruptError, match=r"a label is 4, and dataset\.classes names only 2"):
        opened(tmp_path / "mnist", volume, classes=["a", "b"])


def test_missing_file_is_named(tmp_path: Path, volume: Volume):
    write_mnist(tmp_path / "mnist", compressed=True)
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetMissingError, match="no t10k-labels-idx1-ubyte is here"):
        opened(tmp_path / "mnist", volume)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"", lambda data: data[:7]]
)
def test_file_that_is_not_as_long_as_its_header_says_is_named(
    tmp_path: Path, volume: Volume, compressed: bool, name: str, change
):
    write_mnist(tmp_path / "mnist", compressed=compressed)
    path = tmp_path / "mnist" / (f"{name}.gz" if compressed else name)
    data = path.read_bytes()
    path.write_bytes(gzip.compress(change(gzip.decompress(data))) if compressed else change(data))
    with pytest.raises(DatasetCorruptError) as caught:
        opened(tmp_path / "mnist", volume)
    assert caught.value.where == str(path)


def test_gzip_cut_short_is_named(tmp_path: Path, volume: Volume):
    write_mnist(tmp_path / "mnist", compressed=True)
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetCorruptError, match="cannot be read") as caught:
        opened(tmp_path / "mnist", volume)
    assert caught.value.where == str(path)


def test_swapped_files_are_refused(tmp_path: Path, volume: Volume):
    arrays = write_mnist(tmp_path / "mnist", compressed=False)
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(idx(arrays["train-labels-idx1-ubyte"]))
    with pytest.raises(DatasetCorruptError, match=r"has the shape \[6\]"):
        opened(tmp_path / "mnist", volume)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=40))
def test_arbitrary_bytes_are_refused_by_name(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    root = tmp_path_factory.mktemp("idx")
    write_mnist(root, compressed=False)
    path = root / "train-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(DatasetCorruptError) as caught:
        open_idx(DatasetSpec(kind="idx"), root, cache=ArrayCache(root=root / "cache"))
    assert str(root) in str(caught.value.where)
