from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shared.data.cache import ArrayCache, Contents
from shared.errors import DatasetCorruptError, DatasetError


class Source:
    """Contents of seven pictures for training and three for testing, and how often they were asked for."""

    def __init__(self, *, fails: Exception | None = None) -> None:
        self.builds = 0
        self._fails = fails
        self.images = np.random.default_rng(0).integers(0, 256, (10, 4, 5, 3), dtype=np.uint8)

    def build(self) -> Contents:
        self.builds += 1
        return Contents(
            kind="npz", classes=("a", "b"), image_shape=(4, 5, 3), train=self._some(0, 7), test=self._some(7, 10)
        )

    def _some(self, begin: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for position in range(begin, end, 2):
            stop = min(position + 2, end)
            yield self.images[position:stop], np.arange(position, stop) % 2
        if self._fails is not None:
            raise self._fails


def test_entry_is_built_once_and_read_from_its_files(tmp_path: Path):
    source, cache = Source(), ArrayCache(root=tmp_path / "cache")
    for _ in range(2):
        entry = cache.open("k", source.build)
        images, labels = entry.train.gather(np.array([6, 0]))
        assert np.array_equal(images, source.images[[6, 0]]) and labels.tolist() == [0, 0]
        assert np.array_equal(entry.test.gather(np.arange(3))[0], source.images[7:])
        assert entry.classes == ("a", "b")
    assert source.builds == 1


def flip_first_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["train-images.bin", "test-images.bin", "train-labels.bin", "manifest.json"])
@pytest.mark.parametrize(
    "damage", [flip_first_byte, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])]
)
def test_damaged_entry_is_made_anew(tmp_path: Path, name: str, damage: Callable[[Path], object]):
    source, cache = Source(), ArrayCache(root=tmp_path)
    cache.open("k", source.build)
    before = (tmp_path / "k" / name).read_bytes()
    damage(tmp_path / "k" / name)
    entry = cache.open("k", source.build)
    assert np.array_equal(entry.train.gather(np.arange(7))[0], source.images[:7])
    whole = (
        name == "manifest.json" and (tmp_path / "k" / name).read_bytes() != before
    )  # a lost last newline is harmless
    assert source.builds == 2 or whole


def test_build_that_fails_leaves_nothing_behind(tmp_path: Path):
    cache = ArrayCache(root=tmp_path)
    with pytest.raises(DatasetCorruptError):
        cache.open("k", Source(fails=DatasetCorruptError("broken")).build)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_full_disk_is_an_error_that_names_the_folder(tmp_path: Path):
    with pytest.raises(DatasetError, match="No space left") as caught:
        ArrayCache(root=tmp_path).open("k", Source(fails=OSError(28, "No space left on device")).build)
    assert caught.value.where == str(tmp_path / "k")


def test_what_a_killed_builder_left_is_removed_by_the_next(tmp_path: Path):
    (tmp_path / ".tmp-k-1-abcd").mkdir()
    ArrayCache(root=tmp_path).open("k", Source().build)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "k"]


def test_those_who_want_the_same_entry_at_once_build_it_once(tmp_path: Path):
    source = Source()
    with ThreadPoolExecutor(4) as pool:
        entries = list(pool.map(lambda _: ArrayCache(root=tmp_path).open("k", source.build), range(4)))
    assert source.builds == 1
    assert all(len(entry.train) == 7 for entry in entries)
