"""IDX files, as MNIST and Fashion-MNIST are published: `train-images-idx3-ubyte`, … each plain or as `.gz`.

An IDX file is four bytes (0, 0, 8 for unsigned bytes, number of axes), a big-endian uint32 per axis, then the values
(http://yann.lecun.com/exdb/mnist/). Plain picture files are mapped as they are; when one is compressed, the pictures
are unpacked once into the cache. Grey pictures get three equal channels when gathered.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from shared.data.arrays import checked_labels, class_names, picture_shape
from shared.data.cache import ArrayCache, Contents
from shared.data.digests import file_digest, fingerprint
from shared.data.examples import ArrayExamples, Dataset, Images, Labels
from shared.errors import DatasetCorruptError, DatasetMissingError
from shared.spec import DatasetSpec

ROLES = ("train-images", "train-labels", "t10k-images", "t10k-labels")
UNSIGNED_BYTE = 8
BLOCK_BYTES = 2**24


def find(root: Path) -> dict[str, Path]:
    """The four files by their role. The plain one is taken where both are there.

    Raises:
        DatasetMissingError: One is not there.
    """
    found = {}
    for role in ROLES:
        axes = 3 if role.endswith("images") else 1
        names = [f"{role}{sign}idx{axes}-ubyte{suffix}" for suffix in ("", ".gz") for sign in ("-", ".")]
        path = next((root / name for name in names if (root / name).is_file()), None)
        if path is None:
            raise DatasetMissingError(f"no {names[0]} is here, plain or as .gz", where=str(root))
        found[role] = path
    return found


@dataclass(frozen=True)
class Split:
    """One split's files, read as far as their headers and labels."""

    path: Path
    offset: int
    image_shape: tuple[int, int, int]
    labels: Labels

    @property
    def compressed(self) -> bool:
        """Whether the pictures must be unpacked before they can be mapped."""
        return self.path.suffix == ".gz"


def open_idx(spec: DatasetSpec, root: Path, *, cache: ArrayCache) -> Dataset:
    """The pictures and labels of the files that `find` finds.

    Raises:
        DatasetMissingError: A file is not there.
        DatasetCorruptError: A file is not what its header says; names it.
    """
    files = find(root)
    digests = {}
    for role, path in files.items():
        with _reading(path):
            digests[role] = file_digest(path, notes=cache.root)
    train, test = (_split(files[f"{name}-images"], files[f"{name}-labels"]) for name in ("train", "t10k"))
    if train.image_shape != test.image_shape:
        raise DatasetCorruptError(
            f"has pictures of shape {list(test.image_shape)}, the training file of {list(train.image_shape)}",
            where=str(test.path),
        )
    classes = class_names(spec.classes, train.labels, test.labels, root=root)
    whole = fingerprint("idx", {"classes": list(classes), **digests})
    if not (train.compressed or test.compressed):
        return Dataset(kind="idx", classes=classes, train=_mapped(train), test=_mapped(test), fingerprint=whole)

    def build() -> Contents:
        return Contents(
            kind="idx",
            classes=classes,
            image_shape=train.image_shape,
            train=_pictures(train),
            test=_pictures(test),
        )

    entry = cache.open(f"idx-{whole[:32]}", build)
    return Dataset(kind="idx", classes=classes, train=entry.train, test=entry.test, fingerprint=whole)


def _split(images: Path, labels: Path) -> Split:
    with _reading(images), _opened(images) as file:
        shape, offset = _header(file, images)
        image_shape = picture_shape(shape, where=str(images))
    size = offset + math.prod(shape)
    if images.suffix != ".gz" and images.stat().st_size != size:
        raise DatasetCorruptError(
            f"has {images.stat().st_size:,} bytes, and its header says {size:,}",
            where=str(images),
            hint="Put the whole file in place",
        )
    with _reading(labels), _opened(labels) as file:
        label_shape, _ = _header(file, labels)
        if label_shape != shape[:1]:
            raise DatasetCorruptError(
                f"has the shape {list(label_shape)}, and {images.name} has {shape[0]:,} pictures", where=str(labels)
            )
        values = np.frombuffer(file.read(shape[0] + 1), np.uint8)
    return Split(
        path=images,
        offset=offset,
        image_shape=image_shape,
        labels=checked_labels(values, count=shape[0], where=str(labels)),
    )


def _mapped(split: Split) -> ArrayExamples:
    shape = (len(split.labels), *split.image_shape)
    images = np.memmap(split.path, dtype=np.uint8, mode="r", offset=split.offset, shape=shape)
    return ArrayExamples(images, split.labels)


def _pictures(split: Split) -> Iterator[tuple[Images, Labels]]:
    with _reading(split.path), _opened(split.path) as file:
        file.seek(split.offset)
        size = math.prod(split.image_shape)
        block = max(1, BLOCK_BYTES // size)
        for begin in range(0, len(split.labels), block):
            labels = split.labels[begin : begin + block]
            data = file.read(len(labels) * size)
            if len(data) != len(labels) * size:
                raise DatasetCorruptError("ends before its last picture", where=str(split.path))
            yield np.frombuffer(data, np.uint8).reshape(len(labels), *split.image_shape), labels
        if file.read(1):
            raise DatasetCorruptError("goes on after its last picture", where=str(split.path))


def _header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], int]:
    """The lengths of the axes, and the offset of the first value."""
    magic = file.read(4)
    if len(magic) != 4 or magic[:2] != b"\0\0" or magic[2] != UNSIGNED_BYTE or not magic[3]:
        raise DatasetCorruptError(
            f"begins with the bytes [{magic.hex(' ')}], and an IDX file of unsigned bytes with 00 00 08",
            where=str(path),
        )
    data = file.read(4 * magic[3])
    if len(data) != 4 * magic[3]:
        raise DatasetCorruptError("ends within its header", where=str(path))
    return tuple(int(length) for length in np.frombuffer(data, ">u4")), 4 + len(data)


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what the reading of a broken file raises into an error that names the file."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetCorruptError(f"cannot be read: {error}", where=str(path)) from error
