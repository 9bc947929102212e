import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.data.catalog import open_dataset
from shared.data.examples import Dataset
from shared.errors import DatasetCorruptError, DatasetMissingError
from shared.layout import Volume
from shared.spec import DatasetSpec

Save = Callable[..., Path]
RED, GREEN, BLUE = (200, 20, 20), (20, 200, 20), (20, 20, 200)


def save(path: Path, colour: tuple[int, int, int], *, size: tuple[int, int] = (40, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    save(root / "train" / "roses" / "a.png", RED)
    save(root / "train" / "roses" / "b.PNG", RED, size=(9, 90))
    save(root / "train" / "grass" / "a.bmp", GREEN)
    save(root / "test" / "roses" / "c.png", RED)
    (root / "train" / "roses" / ".DS_Store").write_bytes(b"x")
    (root / "train" / "roses" / "notes.txt").write_text("x")
    return root


def opened(root: Path, volume: Volume, *, image_size: int = 16) -> Dataset:
    return open_dataset(DatasetSpec(kind="folder", path=str(root), image_size=image_size), volume=volume)


def test_pictures_of_any_size_become_squares_labelled_by_their_folder(pictures: Path, volume: Volume):
    dataset = opened(pictures, volume)
    images, labels = dataset.train.gather(np.arange(3))
    assert dataset.classes == ("grass", "roses")
    assert labels.tolist() == [0, 1, 1]
    assert images.shape == (3, 16, 16, 3)
    assert (images[0] == GREEN).all() and (images[1] == RED).all() and (images[2] == RED).all()
    assert len(dataset.test) == 1


def test_middle_square_is_what_is_kept(pictures: Path, volume: Volume):
    wide = Image.new("RGB", (96, 32), BLUE)
    wide.paste(GREEN, (28, 0, 68, 32))  # a little more: scaling looks at neighbours
    wide.save(pictures / "test" / "roses" / "c.png")
    images, _ = opened(pictures, volume).test.gather(np.array([0]))
    assert (images[0] == GREEN).all()


def test_picture_is_turned_as_its_camera_noted(pictures: Path, volume: Volume):
    picture = Image.new("RGB", (16, 16), BLUE)
    picture.paste(GREEN, (0, 0, 16, 8))  # upper half
    exif = Image.Exif()
    exif[0x0112] = 3  # held upside down
    picture.save(pictures / "test" / "roses" / "c.png", exif=exif)
    images, _ = opened(pictures, volume).test.gather(np.array([0]))
    assert (images[0, 0] == BLUE).all() and (images[0, 15] == GREEN).all()


def test_grey_and_palette_pictures_become_three_channels(pictures: Path, volume: Volume):
    Image.new("L", (16, 16), 77).save(pictures / "test" / "roses" / "c.png")
    Image.new("P", (16, 16)).save(pictures / "test" / "roses" / "d.gif")
    images, _ = opened(pictures, volume).test.gather(np.array([0, 1]))
    assert (images[0] == 77).all() and images.shape == (2, 16, 16, 3)


@pytest.mark.parametrize("data", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_broken_picture_names_its_file_and_nothing_stays_behind(pictures: Path, volume: Volume, data: bytes):
    bad = pictures / "train" / "grass" / "bad.png"
    bad.write_bytes(data)
    with pytest.raises(DatasetCorruptError, match="is no picture") as caught:
        opened(pictures, volume)
    assert caught.value.where == str(bad)
    assert [path.name for path in volume.dataset_cache.iterdir()] == [".lock"]


def test_picture_cut_short_is_refused(pictures: Path, volume: Volume):
    path = pictures / "train" / "grass" / "cut.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(DatasetCorruptError) as caught:
        opened(pictures, volume)
    assert caught.value.where == str(path)


def test_huge_picture_is_refused_before_it_is_decoded(pictures: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shared.data.folder.MAX_PIXELS", 799)
    with pytest.raises(DatasetCorruptError, match="40 x 20 pixels"):
        opened(pictures, volume)


@pytest.mark.parametrize(("gone", "kept"), [("test", "train"), ("train", "test")])
def test_only_one_split_is_an_error_that_says_what_is_needed(
    pictures: Path, volume: Volume, tmp_path: Path, gone: str, kept: str
):
    (pictures / gone).rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetMissingError, match=f"there is {kept}/ and no {gone}/") as caught:
        opened(pictures, volume)
    assert "under test/" in str(caught.value)


def test_class_of_the_test_split_alone_is_refused(pictures: Path, volume: Volume):
    save(pictures / "test" / "tulips" / "a.png", BLUE)
    with pytest.raises(DatasetCorruptError, match=r"no class of train/ is called tulips"):
        opened(pictures, volume)


def test_class_without_pictures_is_refused(pictures: Path, volume: Volume):
    (pictures / "train" / "empty").mkdir()
    with pytest.raises(DatasetMissingError, match="the class empty has no pictures"):
        opened(pictures, volume)


def test_second_opening_decodes_nothing_and_another_size_decodes_anew(
    pictures: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
):
    first = opened(pictures, volume)
    with monkeypatch.context() as patch:
        patch.setattr("shared.data.folder.decode", lambda *_: pytest.fail("decoded again"))
        assert opened(pictures, volume).fingerprint == first.fingerprint
    other = opened(pictures, volume, image_size=8)
    assert other.train.image_shape == (8, 8, 3)
    assert other.fingerprint != first.fingerprint


def test_changed_picture_is_noticed_even_with_its_old_time_and_size(pictures: Path, volume: Volume):
    before = opened(pictures, volume)
    path = pictures / "train" / "grass" / "a.bmp"
    stat = path.stat()
    save(path, BLUE)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    after = opened(pictures, volume)
    assert after.fingerprint != before.fingerprint
    assert (after.train.gather(np.array([0]))[0] == BLUE).all()
