"""What the kinds have in common whose files are plain arrays of pictures and labels: `npz` and `idx`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.data.examples import Labels
from shared.errors import DatasetCorruptError

MAX_CLASSES = 10_000


def picture_shape(shape: tuple[int, ...], *, where: str) -> tuple[int, int, int]:
    """Height, width and channels of the pictures in an array of this shape, which may lack the last axis if grey.

    Raises:
        DatasetCorruptError: These are no pictures.
    """
    channels = shape[3] if len(shape) == 4 else 1
    if len(shape) not in (3, 4) or channels not in (1, 3) or 0 in shape:
        raise DatasetCorruptError(
            f"has the shape {list(shape)}, not [n, height, width] or [n, height, width, 1 or 3] with n of at least 1",
            where=where,
        )
    return shape[1], shape[2], channels


def checked_labels(values: npt.NDArray[np.integer], *, count: int, where: str) -> Labels:
    """`values` as int32 [count].

    Raises:
        DatasetCorruptError: There are not `count` of them, or one is negative or beyond all reason.
    """
    if values.size != count or values.ndim not in (1, 2) or values.dtype.kind not in "iu":
        raise DatasetCorruptError(
            f"has the shape {list(values.shape)} of {values.dtype}, not {count:,} integers, one for each picture",
            where=where,
        )
    values = values.reshape(-1)
    bad = np.flatnonzero((values < 0) | (values >= MAX_CLASSES))
    if len(bad):
        raise DatasetCorruptError(
            f"label {int(bad[0]):,} (from 0) is {values[bad[0]]}, not one of 0-{MAX_CLASSES - 1}", where=where
        )
    return values.astype(np.int32)


def class_names(names: Sequence[str] | None, train: Labels, test: Labels, *, root: Path) -> tuple[str, ...]:
    """The names in the order of the labels: those given, or the labels' own numbers up to the greatest in `train`.

    Raises:
        DatasetCorruptError: A label has no name.
    """
    highest = int(train.max())
    known = tuple(names) if names is not None else tuple(str(number) for number in range(highest + 1))
    greatest = max(highest, int(test.max()))
    if greatest >= len(known):
        source = "dataset.classes names" if names is not None else "the training labels know"
        raise DatasetCorruptError(f"a label is {greatest}, and {source} only {len(known)} classes", where=str(root))
    return known
