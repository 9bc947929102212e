"""A folder of pictures per class: `train/<class>/*` and `test/<class>/*`, of any size and Pillow's usual formats.

The classes are the names of the folders in `train/`, sorted. Each picture is turned as its camera noted, its shorter
side scaled to `image_size`, and the middle square cut out; that is done once, into the cache. Names that begin with a
dot, and files without a picture's suffix, are passed over.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from shared.data.cache import SPLITS, ArrayCache, Contents, Split
from shared.data.digests import fingerprint, stat_identity
from shared.data.examples import Dataset, Images, Labels
from shared.errors import DatasetCorruptError, DatasetMissingError
from shared.spec import DatasetSpec

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
MAX_PIXELS = 80_000_000
BLOCK = 256


def find(root: Path) -> None:
    """Makes sure that both splits are there.

    Raises:
        DatasetMissingError: One is not; says what is needed.
    """
    for split in SPLITS:
        if not (root / split).is_dir():
            other = next((name for name in SPLITS if (root / name).is_dir()), None)
            there = f"there is {other}/ and no {split}/" if other else f"no {split}/ is here"
            raise DatasetMissingError(
                f"a folder of pictures needs train/<class>/ and test/<class>/: {there}",
                where=str(root),
                hint="Nothing is split off by itself: put the pictures to judge with under test/, in the same classes",
            )


def open_folder(spec: DatasetSpec, root: Path, *, cache: ArrayCache) -> Dataset:
    """The pictures under `root`, decoded to squares of `spec.image_size` pixels.

    Raises:
        DatasetMissingError: A split is not there, or a class has no pictures.
        DatasetCorruptError: A file is no picture, or cannot be read; names it.
    """
    find(root)
    classes = _class_folders(root / "train")
    unknown = sorted(set(_class_folders(root / "test")) - set(classes))
    if unknown:
        raise DatasetCorruptError(
            f"no class of train/ is called {', '.join(unknown[:5])}", where=str(root / "test" / unknown[0])
        )
    files = {split: _pictures(root / split, classes) for split in SPLITS}
    key = _key(root, files, spec.image_size)

    def build() -> Contents:
        side = spec.image_size
        train, test = (_decoded(files[split], side) for split in SPLITS)
        return Contents(kind="folder", classes=classes, image_shape=(side, side, 3), train=train, test=test)

    entry = cache.open(f"folder-{key[:32]}", build)
    return Dataset(
        kind="folder",
        classes=classes,
        train=entry.train,
        test=entry.test,
        fingerprint=fingerprint("folder", {"classes": list(classes), **entry.digests}),
    )


def decode(path: Path, side: int) -> Images:
    """One picture: uint8 [side, side, 3].

    Raises:
        DatasetCorruptError: It is none, is broken, or has more than 80 million pixels.
    """
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DatasetCorruptError(
                    f"has {picture.width} x {picture.height} pixels, more than {MAX_PIXELS:,}", where=str(path)
                )
            upright = ImageOps.exif_transpose(picture).convert("RGB")
            return np.asarray(ImageOps.fit(upright, (side, side), method=Image.Resampling.BILINEAR))
    except DatasetCorruptError:
        raise
    # Pillow's decoders raise whatever they stumble over in a broken file.
    except Exception as error:
        raise DatasetCorruptError(
            f"is no picture that can be read: {error}", where=str(path), hint="Replace it or remove it"
        ) from error


def _class_folders(split: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in split.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DatasetMissingError("has no folders: one per class is needed", where=str(split))
    return tuple(names)


def _pictures(split: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """Each picture with its label, by class, then by name."""
    found = []
    for label, name in enumerate(classes):
        folder = split / name
        files = sorted(entry.path for entry in os.scandir(folder) if _is_picture(entry)) if folder.is_dir() else []
        if not files and split.name == "train":
            raise DatasetMissingError(
                f"the class {name} has no pictures",
                where=str(folder),
                hint=f"Put some there ({', '.join(sorted(SUFFIXES))}), or remove the folder",
            )
        found += [(Path(path), label) for path in files]
    if not found:
        raise DatasetMissingError("no class has a picture here", where=str(split))
    return found


def _is_picture(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and Path(entry.name).suffix.lower() in SUFFIXES and entry.is_file()


def _key(root: Path, files: Mapping[Split, list[tuple[Path, int]]], side: int) -> str:
    # The files' sizes and times stand for their content: reading it all takes nearly as long as decoding it.
    sha256 = hashlib.sha256(str(side).encode())
    for split in SPLITS:
        for path, label in files[split]:
            name = path.relative_to(root).as_posix()
            sha256.update(json.dumps([name, label, stat_identity(path)]).encode())
    return sha256.hexdigest()


def _decoded(files: Sequence[tuple[Path, int]], side: int) -> Iterator[tuple[Images, Labels]]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the interpreter's lock
        for begin in range(0, len(files), BLOCK):
            block = files[begin : begin + BLOCK]
            images = np.stack(list(pool.map(lambda item: decode(item[0], side), block)))
            yield images, np.array([label for _, label in block], np.int32)
