"""CIFAR-10 and CIFAR-100 in their official binary layouts, memory-mapped.

A record is one byte per label, then 3,072 bytes of a 32x32 picture: all red, then all green, then all blue, row by row
(https://www.cs.toronto.edu/~kriz/cifar.html). A file holds any number of records. CIFAR-10's training files are those
of `data_batch_1.bin` … `data_batch_5.bin` that are there. Where `checksums.json` lies beside the files, as a download
leaves it, every file must match it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.data.checksums import verify_checksums
from shared.data.digests import file_digest, fingerprint
from shared.data.examples import Dataset, Images, Indices, Labels
from shared.errors import DatasetCorruptError, DatasetMissingError

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Layout:
    """What distinguishes the two layouts. `labels`: name and number of classes of each label byte; the last counts."""

    kind: str
    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    labels: tuple[tuple[str, int], ...]

    @property
    def record(self) -> int:
        """Bytes of a record."""
        return len(self.labels) + PIXELS


CIFAR10 = Layout(
    kind="cifar10",
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test="test_batch.bin",
    names="batches.meta.txt",
    labels=(("label", 10),),
)
CIFAR100 = Layout(
    kind="cifar100",
    folder="cifar-100-binary",
    train=("train.bin",),
    test="test.bin",
    names="fine_label_names.txt",
    labels=(("coarse label", 20), ("fine label", 100)),
)


class RecordExamples:
    """The records of one or several files, in their order.

    Args:
        maps: uint8 [n, record] each, at least one.
        labels: int32, of all the records.
    """

    def __init__(self, *, maps: Sequence[npt.NDArray[np.uint8]], labels: Labels) -> None:
        self._maps = maps
        self._labels = labels
        self._ends = np.cumsum([len(records) for records in maps])

    def __len__(self) -> int:
        """The number of examples."""
        return len(self._labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return SIDE, SIDE, 3

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """The examples at `indices`; see `Examples.gather`."""
        indices = np.asarray(indices)
        labels = self._labels[indices]  # raises IndexError for one out of range, before any file is touched
        indices = np.where(indices < 0, indices + len(self), indices)
        which = np.searchsorted(self._ends, indices, side="right")
        planes = np.empty((len(indices), PIXELS), np.uint8)
        for number, records in enumerate(self._maps):
            chosen = np.flatnonzero(which == number)
            begin = self._ends[number] - len(records)
            planes[chosen] = records[indices[chosen] - begin, -PIXELS:]
        images = planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), labels


def find(layout: Layout, root: Path) -> Path:
    """The folder with the files: `root` itself, or the official folder in it.

    Raises:
        DatasetMissingError: Neither has them; says what is lacking where.
    """
    lacking = {}
    for folder in (root, root / layout.folder):
        missing = [name for name in (layout.test, layout.names) if not (folder / name).is_file()]
        if not _train_files(layout, folder):
            missing.insert(0, layout.train[0])
        if not missing:
            return folder
        lacking[folder] = missing
    nearest = min(lacking, key=lambda folder: (len(lacking[folder]), len(folder.parts)))
    raise DatasetMissingError(
        f"{layout.kind} is not here: no {', no '.join(lacking[nearest])} (looked in {root} and {root / layout.folder})",
        where=str(nearest),
    )


def open_cifar(layout: Layout, root: Path, *, notes: Path) -> Dataset:
    """The data set whose files `find` finds at `root`; every label and every file's size is checked.

    Args:
        layout: `CIFAR10` or `CIFAR100`.
        root: The folder with the files, or its parent.
        notes: A folder that may be written to, for the digests of large files.

    Raises:
        DatasetMissingError: Files are not there.
        DatasetCorruptError: A file is not what its layout or its checksum says; names it, and the record and byte.
    """
    folder = find(layout, root)
    train = _train_files(layout, folder)
    paths = [*train, folder / layout.test, folder / layout.names]
    try:
        digests = {path.name: file_digest(path, notes=notes) for path in paths}
        verify_checksums(folder, digests)
        return Dataset(
            kind=layout.kind,
            classes=_class_names(layout, folder / layout.names),
            train=_open_files(layout, train),
            test=_open_files(layout, [folder / layout.test]),
            fingerprint=fingerprint(layout.kind, digests),
        )
    except OSError as error:
        raise DatasetCorruptError(
            f"cannot be read: {error.strerror or error}", where=str(error.filename or folder)
        ) from error


def _train_files(layout: Layout, folder: Path) -> list[Path]:
    return [folder / name for name in layout.train if (folder / name).is_file()]


def _open_files(layout: Layout, paths: Sequence[Path]) -> RecordExamples:
    maps = [_map_records(layout, path) for path in paths]
    labels = [_checked_labels(layout, path, records) for path, records in zip(paths, maps, strict=True)]
    return RecordExamples(maps=maps, labels=np.concatenate(labels))


def _map_records(layout: Layout, path: Path) -> npt.NDArray[np.uint8]:
    size = path.stat().st_size
    whole, rest = divmod(size, layout.record)
    if size == 0:
        raise DatasetCorruptError("is empty", where=str(path), hint="Put the whole file in place")
    if rest:
        raise DatasetCorruptError(
            f"{size:,} bytes are no multiple of a record's {layout.record:,}: after {whole:,} whole records, "
            f"record {whole:,} (from 0) begins at byte {whole * layout.record:,} and has only {rest:,} bytes",
            where=str(path),
            hint="The file is cut short or is not of this layout; put the whole file in place",
        )
    return np.memmap(path, dtype=np.uint8, mode="r", shape=(whole, layout.record))


def _checked_labels(layout: Layout, path: Path, records: npt.NDArray[np.uint8]) -> Labels:
    columns = np.array(records[:, : len(layout.labels)])
    for column, (name, classes) in enumerate(layout.labels):
        bad = np.flatnonzero(columns[:, column] >= classes)
        if len(bad):
            first = int(bad[0])
            raise DatasetCorruptError(
                f"record {first:,} (from 0), byte {first * layout.record + column:,}: the {name} is "
                f"{columns[first, column]}, not one of 0-{classes - 1} ({len(bad):,} such records)",
                where=str(path),
                hint=f"The file is damaged or is not of the layout of {layout.kind}",
            )
    return columns[:, -1].astype(np.int32)


def _class_names(layout: Layout, path: Path) -> tuple[str, ...]:
    wanted = layout.labels[-1][1]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetCorruptError(f"byte {error.start:,} is not UTF-8 text", where=str(path)) from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) != wanted or len(set(names)) != wanted:
        raise DatasetCorruptError(
            f"has {len(names)} class names, {len(set(names))} of them different, instead of {wanted}",
            where=str(path),
            hint="One name a line, in the order of the labels",
        )
    return names
