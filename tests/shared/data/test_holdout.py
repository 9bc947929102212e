from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared.data.catalog import open_dataset
from shared.data.examples import ArrayExamples, Dataset
from shared.data.holdout import hold_out
from shared.errors import DatasetError
from shared.layout import Volume
from shared.spec import DatasetSpec

EXAMPLES = 300


def numbered(*, fingerprint: str = "0a") -> Dataset:
    """A data set whose labels are the numbers of its examples, from 1,000 on in the test split."""

    def split(first: int, count: int) -> ArrayExamples:
        labels = np.arange(first, first + count)
        images = (np.zeros((count, 4, 4, 3), np.int64) + labels[:, None, None, None] % 256).astype(np.uint8)
        return ArrayExamples(images, labels)

    return Dataset(
        kind="npz", classes=("a", "b"), train=split(0, EXAMPLES), test=split(1_000, 7), fingerprint=fingerprint
    )


def labels(dataset: Dataset) -> tuple[list[int], list[int]]:
    train, test = (split.gather(np.arange(len(split)))[1].tolist() for split in (dataset.train, dataset.test))
    return train, test


def test_each_training_example_is_either_learnt_from_or_judged():
    train, test = labels(hold_out(numbered(), 50))
    assert len(test) == 50
    assert sorted(train + test) == list(range(EXAMPLES))


def test_pictures_stay_with_their_labels():
    images, found = hold_out(numbered(), 50).test.gather(np.array([3, 41]))
    assert (images[:, 0, 0, 0] == found % 256).all()
    assert images.shape == (2, 4, 4, 3)


def test_the_choice_is_spread_over_the_split_and_always_the_same():
    _, test = labels(hold_out(numbered(), 50))
    assert labels(hold_out(numbered(), 50))[1] == test
    assert all(3 < sum(begin <= label < begin + 100 for label in test) < 30 for begin in (0, 100, 200))


def test_more_held_out_contains_what_fewer_did():
    assert set(labels(hold_out(numbered(), 20))[1]) < set(labels(hold_out(numbered(), 50))[1])


def test_another_part_held_out_is_other_data():
    prints = {hold_out(numbered(), 50).fingerprint, hold_out(numbered(), 51).fingerprint, numbered().fingerprint}
    prints.add(hold_out(numbered(fingerprint="0b"), 50).fingerprint)
    assert len(prints) == 4
    assert all(int(found, 16) for found in prints)


@pytest.mark.parametrize("count", [EXAMPLES, EXAMPLES + 1])
def test_something_must_be_left_to_train_on(count: int):
    with pytest.raises(DatasetError, match=f"is {count}, and there are {EXAMPLES} training examples"):
        hold_out(numbered(), count)


def test_a_spec_holds_out_examples_of_any_kind(write_cifar10: Callable[..., Path], volume: Volume, tmp_path: Path):
    folder = write_cifar10(tmp_path / "cifar")
    cifar = open_dataset(DatasetSpec(kind="cifar10", path=str(folder), holdout=3), volume=volume)
    assert (len(cifar.train), len(cifar.test)) == (9, 3)
    shapes = open_dataset(DatasetSpec(kind="shapes", train_examples=40, test_examples=9, holdout=10), volume=volume)
    assert (len(shapes.train), len(shapes.test)) == (30, 10)
