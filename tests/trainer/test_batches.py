import threading
import time
from contextlib import closing

import numpy as np
import pytest

from services.trainer.batches import PrefetchedBatches
from services.trainer.sample_order import SampleOrder
from shared.data.examples import ArrayExamples, Images, Indices, Labels
from tests.trainer.numpy_engine import small_dataset


class Watched:
    """Examples that count how often they are asked, and may break."""

    def __init__(self, *, fail_at: int | None = None) -> None:
        self._examples = small_dataset().train
        self._fail_at = fail_at
        self.asked = 0

    def __len__(self) -> int:
        return len(self._examples)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self._examples.image_shape

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        if self.asked == self._fail_at:
            raise OSError("the disk is gone")
        self.asked += 1
        return self._examples.gather(indices)


def source(examples: Watched | ArrayExamples, *, ahead: int = 3, batch_size: int = 7) -> PrefetchedBatches:
    order = SampleOrder(seed=1, examples=len(examples))
    return PrefetchedBatches(examples=examples, order=order, batch_size=batch_size, ahead=ahead)


def until(condition, *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_flips_that_alternate_show_either_side_of_each_example_in_two_epochs() -> None:
    dataset, order = small_dataset(examples=14), SampleOrder(seed=1, examples=14)
    batches = PrefetchedBatches(examples=dataset.train, order=order, batch_size=7, ahead=1, alternate=True)
    shown: dict[int, set[bytes]] = {example: set() for example in range(14)}

    for step in range(4):
        batch = batches.batch(step)
        indices = order.indices(start=step * 7, count=7)
        images, labels = dataset.train.gather(indices)
        assert np.array_equal(batch.labels, labels)
        for example, image, plain in zip(indices, batch.images, images, strict=True):
            assert image.dtype == np.uint8
            assert image.tobytes() in {plain.tobytes(), plain[:, ::-1].tobytes()}
            shown[int(example)].add(image.tobytes())

    assert all(len(sides) == 2 for sides in shown.values())


def test_batches_follow_the_order_across_the_ends_of_epochs() -> None:
    dataset = small_dataset(examples=10)
    order = SampleOrder(seed=1, examples=10)

    with closing(source(dataset.train).batches(start=0, stop=5)) as batches:
        made = list(batches)

    images, labels = dataset.train.gather(order.indices(start=0, count=35))
    assert [batch.step for batch in made] == [0, 1, 2, 3, 4]
    assert np.array_equal(np.concatenate([batch.images for batch in made]), images)
    assert np.array_equal(np.concatenate([batch.labels for batch in made]), labels)


def test_starting_in_the_middle_gives_the_same_batches() -> None:
    examples = small_dataset().train

    with closing(source(examples).batches(start=0, stop=9)) as batches:
        whole = list(batches)
    with closing(source(examples).batches(start=6, stop=9)) as batches:
        rest = list(batches)

    assert [batch.step for batch in rest] == [6, 7, 8]
    assert all(np.array_equal(a.images, b.images) for a, b in zip(whole[6:], rest, strict=True))


def test_no_more_than_the_bound_is_made_ahead() -> None:
    examples = Watched()
    leads = []
    with closing(source(examples, ahead=3).batches(start=0, stop=300)) as batches:
        for taken, _ in enumerate(batches, start=1):
            expected = min(taken + 4, 300)  # three waiting, one in the making
            until(lambda: examples.asked >= expected)  # noqa: B023
            leads.append(examples.asked - taken)

    assert max(leads) == 4


def test_an_error_of_the_data_surfaces_at_its_step() -> None:
    with closing(source(Watched(fail_at=2)).batches(start=10, stop=20)) as batches:
        assert [next(batches).step, next(batches).step] == [10, 11]
        with pytest.raises(OSError, match="the disk is gone"):
            next(batches)


def test_closing_ends_the_thread_even_when_it_waits_for_room() -> None:
    batches = source(Watched(), ahead=1).batches(start=0, stop=1000)
    next(batches)
    assert any(thread.name == "trainer-batches" for thread in threading.enumerate())

    batches.close()

    assert not any(thread.name == "trainer-batches" for thread in threading.enumerate())


def test_a_batch_may_be_larger_than_the_data_set() -> None:
    with closing(source(small_dataset(examples=3).train, batch_size=8).batches(start=0, stop=1)) as batches:
        assert next(batches).images.shape == (8, 4, 4, 3)
