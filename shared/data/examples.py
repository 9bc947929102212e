"""The seam of all data sets: labelled pictures that can be gathered by index, and the data set they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]


class Examples(Protocol):
    """One split of a data set. Reading is safe from several threads."""

    def __len__(self) -> int:
        """The number of examples."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels, the same for every picture; always three channels."""
        ...

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """The examples at `indices`: uint8 [n, height, width, 3] and int32 [n], both fresh and contiguous."""
        ...


@dataclass(frozen=True)
class Dataset:
    """Two splits and the names of the classes, in the order of their labels.

    `fingerprint` changes when the pictures or labels change: a hexadecimal digest of the files' names, sizes and
    content where that is cheap, or of what generated them.
    """

    kind: str
    classes: Sequence[str]
    train: Examples
    test: Examples
    fingerprint: str


class ArrayExamples:
    """Examples that lie in arrays, in memory or mapped from files; grey ones get three equal channels when gathered.

    Args:
        images: uint8 [n, height, width, 1 or 3]; any strides.
        labels: integers [n].
    """

    def __init__(self, images: Images, labels: npt.NDArray[np.integer]) -> None:
        self._images = images
        self._labels = labels

    def __len__(self) -> int:
        """The number of examples."""
        return len(self._labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, and three channels."""
        height, width = self._images.shape[1:3]
        return height, width, 3

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """The examples at `indices`; see `Examples.gather`."""
        images = np.ascontiguousarray(self._images[indices])
        if images.shape[3] == 1:
            images = np.repeat(images, 3, axis=3)
        return images, self._labels[indices].astype(np.int32)
