"""An `.npz` file with `x_train`, `y_train`, `x_test`, `y_test`, as Keras writes its data sets.

Pictures are uint8 [n, height, width, 3], [n, height, width, 1] or [n, height, width]; labels are integers [n] or
[n, 1]. Nothing in it is ever unpickled. The pictures are copied once into the cache, from where they can be mapped.
"""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from shared.data.arrays import checked_labels, class_names, picture_shape
from shared.data.cache import ArrayCache, Contents
from shared.data.digests import file_digest, fingerprint
from shared.data.examples import Dataset, Images, Labels
from shared.errors import DatasetCorruptError, DatasetMissingError
from shared.spec import DatasetSpec

BLOCK_BYTES = 2**24
MAX_LABEL_BYTES = 2**31

Header = tuple[tuple[int, ...], bool, np.dtype[np.generic]]


def find(root: Path) -> Path:
    """The file: `root` itself, or the only `.npz` in it.

    Raises:
        DatasetMissingError: There is none, or there are several.
    """
    if root.is_file():
        return root
    files = sorted(root.glob("*.npz")) if root.is_dir() else []
    if len(files) != 1:
        found = f"{len(files)} .npz files are here, and one is needed" if files else "no .npz file is here"
        raise DatasetMissingError(found, where=str(root), hint="Let dataset.path name the file itself")
    return files[0]


def open_npz(spec: DatasetSpec, root: Path, *, cache: ArrayCache) -> Dataset:
    """The arrays of the file that `find` finds.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetCorruptError: It is no .npz, lacks an array, or an array is not what it should be; names the array.
    """
    path = find(root)
    with _reading(path):
        digest = file_digest(path, notes=cache.root)
    names = list(spec.classes) if spec.classes is not None else []
    whole = fingerprint("npz", {"file": digest, "classes": names})

    def build() -> Contents:
        with _reading(path), zipfile.ZipFile(path) as archive:
            shape, train = _labels(archive, path, "train")
            test_shape, test = _labels(archive, path, "test")
        if shape != test_shape:
            raise DatasetCorruptError(
                f"x_train has pictures of shape {list(shape)}, x_test of {list(test_shape)}", where=str(path)
            )
        classes = class_names(spec.classes, train, test, root=path)
        return Contents(
            kind="npz",
            classes=classes,
            image_shape=shape,
            train=_pictures(path, "train", train),
            test=_pictures(path, "test", test),
        )

    entry = cache.open(f"npz-{whole[:32]}", build)
    return Dataset(kind="npz", classes=entry.classes, train=entry.train, test=entry.test, fingerprint=whole)


def _labels(archive: zipfile.ZipFile, path: Path, split: str) -> tuple[tuple[int, int, int], Labels]:
    """The shape of a split's pictures, and its labels."""
    with _member(archive, path, f"x_{split}") as file:
        shape, fortran, dtype = _header(file)
    where = f"{path}: x_{split}"
    if dtype != np.uint8 or fortran:
        order = " in Fortran order" if fortran else ""
        raise DatasetCorruptError(
            f"is of {dtype}{order}, not of uint8 in C order", where=where, hint="Save the pictures as 0-255, unscaled"
        )
    picture = picture_shape(shape, where=where)
    with _member(archive, path, f"y_{split}") as file:
        label_shape, _, label_dtype = _header(file)
        size = math.prod(label_shape) * label_dtype.itemsize
        data = file.read(size) if label_dtype.kind in "iu" and size <= MAX_LABEL_BYTES else b""
    where = f"{path}: y_{split}"
    if not data or len(data) != size:
        raise DatasetCorruptError(
            f"has the shape {list(label_shape)} of {label_dtype}, and {len(data):,} bytes of integers", where=where
        )
    values: npt.NDArray[Any] = np.frombuffer(data, label_dtype).reshape(label_shape)
    return picture, checked_labels(values, count=shape[0], where=where)


def _pictures(path: Path, split: str, labels: Labels) -> Iterator[tuple[Images, Labels]]:
    with _reading(path), zipfile.ZipFile(path) as archive, _member(archive, path, f"x_{split}") as file:
        shape, _, _ = _header(file)
        picture = picture_shape(shape, where=str(path))
        size = math.prod(picture)
        block = max(1, BLOCK_BYTES // size)
        for begin in range(0, len(labels), block):
            some = labels[begin : begin + block]
            data = file.read(len(some) * size)
            if len(data) != len(some) * size:
                raise DatasetCorruptError("ends before its last picture", where=f"{path}: x_{split}")
            yield np.frombuffer(data, np.uint8).reshape(len(some), *picture), some


def _header(file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> IO[bytes]:
    try:
        return archive.open(f"{name}.npy")
    except KeyError as error:
        found = ", ".join(sorted(entry.removesuffix(".npy") for entry in archive.namelist())[:8]) or "nothing"
        raise DatasetCorruptError(
            f"has no array {name}; it has {found}",
            where=str(path),
            hint="The arrays are x_train, y_train, x_test and y_test",
        ) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what the reading of a broken file raises into an error that names the file."""
    try:
        yield
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetCorruptError(f"cannot be read as .npz: {error}", where=str(path)) from error
