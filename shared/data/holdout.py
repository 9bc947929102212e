"""A part of the training split judged in the place of the test split, for choosing settings without looking at that."""

import hashlib
from dataclasses import replace

import numpy as np

from shared.data.examples import Dataset, Examples, Images, Indices, Labels
from shared.errors import DatasetError

# One choice for everybody, whatever the seed of a run, so that verdicts of several runs are of the same pictures.
_KEY = 0


class Subset:
    """Some examples of a split, in an order of their own.

    Args:
        examples: The split.
        places: Which of them, int64 [n].
    """

    def __init__(self, examples: Examples, places: Indices) -> None:
        self._examples = examples
        self._places = places

    def __len__(self) -> int:
        """The number of examples."""
        return len(self._places)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self._examples.image_shape

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """The examples at `indices`; see `Examples.gather`."""
        return self._examples.gather(self._places[indices])


def hold_out(dataset: Dataset, count: int) -> Dataset:
    """The data set with `count` training examples, chosen at random, instead of its test split.

    The choice is a function of the number of examples and of `count` alone. The test split is not looked at.

    Raises:
        DatasetError: Nothing would be left to train on.
    """
    examples = len(dataset.train)
    if count >= examples:
        raise DatasetError(f"is {count}, and there are {examples} training examples", where="dataset.holdout")
    words = np.random.Philox(key=np.array([_KEY, examples], np.uint64)).random_raw(examples)
    places = np.argsort(words, kind="stable").astype(np.int64, copy=False)
    return replace(
        dataset,
        train=Subset(dataset.train, np.sort(places[count:])),
        test=Subset(dataset.train, np.sort(places[:count])),
        fingerprint=hashlib.sha256(f"{dataset.fingerprint} holdout {count}".encode()).hexdigest(),
    )
