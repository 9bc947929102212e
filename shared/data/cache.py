"""Data sets that are not stored as raw pixels, decoded once into memory-mapped files on the volume.

`datasets/.cache/<key>/` holds `{train,test}-images.bin` (uint8 [n, height, width, channels]),
`{train,test}-labels.bin` (little-endian int32 [n]) and `manifest.json` with their digests. An entry is committed whole.
One that no longer matches its manifest is made anew, since everything in the cache can be. Processes that want the same
entry wait for the first one.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared import atomic
from shared.data.digests import file_digest
from shared.data.examples import ArrayExamples, Images
from shared.errors import DatasetError, VolumeError
from shared.layout import MANIFEST
from shared.locks import exclusive_lock
from shared.records import FileRecord, Record, encode_record, read_record_or_none

LOG = logging.getLogger(__name__)

Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")
Chunks = Iterable[tuple[Images, npt.NDArray[np.integer]]]


class CacheManifest(Record):
    """`manifest.json` of an entry. `image_shape` is height, width, channels as stored: one channel for grey."""

    kind: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    files: dict[str, FileRecord]


@dataclass(frozen=True)
class Contents:
    """What goes into an entry. The chunks are drawn one at a time, so a split may be larger than memory.

    `train` and `test` yield uint8 [n, height, width, channels] with integer labels [n], any n.
    """

    kind: str
    classes: Sequence[str]
    image_shape: tuple[int, int, int]
    train: Chunks
    test: Chunks


@dataclass(frozen=True)
class Entry:
    """An entry that was opened: `digests` are those of its files, by name."""

    classes: Sequence[str]
    train: ArrayExamples
    test: ArrayExamples
    digests: dict[str, atomic.Digest]


class ArrayCache:
    """The entries under one folder.

    Args:
        root: The folder, made when the first entry is.
    """

    def __init__(self, *, root: Path) -> None:
        self.root = root

    def open(self, key: str, build: Callable[[], Contents]) -> Entry:
        """The entry named `key`, built if it is missing or damaged.

        Raises:
            DatasetError: It could not be written (a full disk, say), or whatever `build` raises.
        """
        try:
            entry = self._opened(key)
            if entry is None:
                with exclusive_lock(self.root / ".lock"):
                    entry = self._opened(key) or self._built(key, build)
        except OSError as error:
            raise DatasetError(
                f"the prepared pictures cannot be read or written: {error.strerror or error}",
                where=str(self.root / key),
                hint="Make room or give rights there; the folder holds nothing that cannot be made again",
            ) from error
        return entry

    def _built(self, key: str, build: Callable[[], Contents]) -> Entry:
        atomic.sweep(self.root)  # under the lock, so what is there was left by processes that are gone
        if (self.root / key).exists():
            LOG.warning("%s does not match its manifest and is made anew", self.root / key)
            atomic.remove_folder(self.root / key)
        contents = build()
        with atomic.committing(self.root / key) as folder:
            files = {}
            for split, chunks in (("train", contents.train), ("test", contents.test)):
                labels: list[npt.NDArray[np.integer]] = []
                digest = folder.write_chunks(f"{split}-images.bin", _pixels(chunks, labels))
                files[f"{split}-images.bin"] = digest
                joined = np.concatenate(labels).astype("<i4")
                files[f"{split}-labels.bin"] = folder.write(f"{split}-labels.bin", joined.tobytes())
            manifest = CacheManifest(
                kind=contents.kind,
                classes=tuple(contents.classes),
                image_shape=contents.image_shape,
                files={name: FileRecord(size=digest.size, sha256=digest.sha256) for name, digest in files.items()},
            )
            folder.write(MANIFEST, encode_record(manifest))
        entry = self._opened(key)
        if entry is None:
            raise DatasetError(
                "the prepared pictures differ from what was just written",
                where=str(self.root / key),
                hint="The disk, or the memory of this machine, is at fault",
            )
        return entry

    def _opened(self, key: str) -> Entry | None:
        folder = self.root / key
        try:
            manifest = read_record_or_none(folder / MANIFEST, CacheManifest)
            if manifest is None:
                return None
            digests = {name: file_digest(folder / name, notes=self.root) for name in manifest.files}
        except (VolumeError, FileNotFoundError):
            return None
        wanted = {name: atomic.Digest(size=file.size, sha256=file.sha256) for name, file in manifest.files.items()}
        if digests != wanted:
            return None
        train, test = (_mapped(folder, split, manifest.image_shape) for split in SPLITS)
        return Entry(classes=manifest.classes, train=train, test=test, digests=digests)


def _pixels(chunks: Chunks, labels: list[npt.NDArray[np.integer]]) -> Iterator[memoryview]:
    """The bytes of each chunk's pictures; their labels are put aside on the way."""
    for pictures, their_labels in chunks:
        labels.append(their_labels)
        yield np.ascontiguousarray(pictures).reshape(-1).data


def _mapped(folder: Path, split: str, image_shape: tuple[int, int, int]) -> ArrayExamples:
    labels = np.fromfile(folder / f"{split}-labels.bin", dtype="<i4")
    images = np.memmap(folder / f"{split}-images.bin", dtype=np.uint8, mode="r", shape=(len(labels), *image_shape))
    return ArrayExamples(images, labels)
