import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.sample_order import SampleOrder


@settings(deadline=None)
@given(seed=st.integers(0, 2**31 - 1), examples=st.integers(1, 60), epoch=st.integers(0, 1000))
def test_every_epoch_is_a_full_permutation(seed: int, examples: int, epoch: int) -> None:
    indices = SampleOrder(seed=seed, examples=examples).indices(start=epoch * examples, count=examples)

    assert sorted(indices) == list(range(examples))


@settings(deadline=None)
@given(start=st.integers(0, 500), count=st.integers(0, 200), examples=st.integers(1, 60))
def test_any_piece_equals_that_piece_of_the_whole(start: int, count: int, examples: int) -> None:
    whole = SampleOrder(seed=3, examples=examples).indices(start=0, count=700)

    piece = SampleOrder(seed=3, examples=examples).indices(start=start, count=count)

    assert piece.dtype == np.int64
    assert np.array_equal(piece, whole[start : start + count])


def test_epochs_and_seeds_differ_in_order() -> None:
    order = SampleOrder(seed=0, examples=100)
    first, second = order.indices(start=0, count=100), order.indices(start=100, count=100)
    other = SampleOrder(seed=1, examples=100).indices(start=0, count=100)

    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_the_order_is_the_one_that_earlier_releases_had() -> None:
    # Written down when it was made: a checkpoint of an old release must go on with the same examples.
    assert SampleOrder(seed=7, examples=8).indices(start=0, count=16).tolist() == [
        4,
        1,
        6,
        3,
        2,
        7,
        5,
        0,
        3,
        1,
        6,
        2,
        5,
        4,
        0,
        7,
    ]


def test_each_example_is_equally_likely_at_each_place() -> None:
    places = SampleOrder(seed=5, examples=4).indices(start=0, count=4 * 4000).reshape(-1, 4)

    counts = np.stack([np.bincount(places[:, place], minlength=4) for place in range(4)])

    # 4,000 draws at p = 1/4 deviate by 27 (one sigma); five sigmas are never met by chance.
    assert np.abs(counts - 1000).max() < 137


@settings(deadline=None)
@given(start=st.integers(0, 500), count=st.integers(0, 200), examples=st.integers(1, 60))
def test_which_examples_are_mirrored_does_not_depend_on_what_is_asked_for_at_once(
    start: int, count: int, examples: int
) -> None:
    whole = SampleOrder(seed=3, examples=examples).mirrored(start=0, count=700)

    piece = SampleOrder(seed=3, examples=examples).mirrored(start=start, count=count)

    assert piece.dtype == np.bool_
    assert np.array_equal(piece, whole[start : start + count])


def test_each_example_is_mirrored_in_every_second_epoch() -> None:
    order, examples = SampleOrder(seed=3, examples=1000), 1000
    by_example = np.empty((4, examples), bool)
    for epoch in range(4):
        place = {"start": epoch * examples, "count": examples}
        by_example[epoch, order.indices(**place)] = order.mirrored(**place)

    assert np.array_equal(by_example[0], by_example[2])
    assert np.array_equal(by_example[1], by_example[3])
    assert np.array_equal(by_example[0], ~by_example[1])
    assert 450 < by_example[0].sum() < 550
