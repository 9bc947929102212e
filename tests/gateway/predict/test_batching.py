import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from prometheus_client import CollectorRegistry

from services.gateway.predict.batching import Batcher, softmax
from services.gateway.predict.metrics import PredictMetrics
from services.gateway.predict.models import LoadedModel
from shared.errors import DeadlineError, InferenceError, NotFiniteError, OverloadedError, UnavailableError
from shared.records import ExportManifest

FAR = 60.0


def model(infer: Callable[[Any], Any], *, step: int = 1) -> LoadedModel:
    manifest = ExportManifest(
        run="a",
        step=step,
        weights="ema",
        decay=0.9,
        files={},
        input_shape=(1, 1, 3),
        classes=("x", "y"),
        precision_at_1=0.5,
        greatest_difference=0.0,
        time=0.0,
    )
    return LoadedModel(manifest=manifest, infer=infer)


def picture(value: int, count: int = 1) -> np.ndarray:
    return np.full((count, 1, 1, 3), value, np.uint8)


class Gate:
    """A model that tells when it has begun and goes on when it is let."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def infer(self, images: np.ndarray) -> np.ndarray:
        self.batches.append(images[:, 0, 0, 0].tolist())
        self.begun.release()
        assert self.let.acquire(timeout=10)
        return np.stack([images[:, 0, 0, 0], np.zeros(len(images))], axis=1).astype(np.float32)


def run(
    story: Callable[[Batcher], Any], *, together: int = 8, max_waiting: int = 8, workers: int = 1
) -> CollectorRegistry:
    registry = CollectorRegistry()
    batcher = Batcher(
        clock=time.monotonic,
        metrics=PredictMetrics(registry),
        together=together,
        max_waiting=max_waiting,
        workers=workers,
    )
    batcher.start()

    async def whole() -> None:
        await asyncio.wait_for(story(batcher), 20)

    try:
        asyncio.run(whole())
    finally:
        batcher.stop()
    return registry


def later(seconds: float = FAR) -> float:
    return time.monotonic() + seconds


async def begun(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.begun.acquire, timeout=10)


def test_single_picture_is_taken_at_once_and_those_that_wait_meanwhile_are_taken_together() -> None:
    gate = Gate()
    one = model(gate.infer)

    async def story(batcher: Batcher) -> None:
        works = [batcher.submit(one, picture(1), deadline=later())]
        await begun(gate)
        works += [batcher.submit(one, picture(value), deadline=later()) for value in (2, 3, 4)]
        gate.let.release(2)
        results = await asyncio.gather(*(work.future for work in works))
        for value, result in zip((1, 2, 3, 4), results, strict=True):
            np.testing.assert_allclose(result.probabilities, softmax(np.array([[value, 0.0]], np.float32)))

    registry = run(story)
    assert gate.batches == [[1], [2, 3, 4]]
    assert registry.get_sample_value("tandem_predict_batch_size_count") == 2
    assert registry.get_sample_value("tandem_predict_batch_size_sum") == 4


def test_only_a_single_picture_that_comes_alone_is_computed_in_the_way_for_one() -> None:
    alone: list[int] = []
    together: list[int] = []

    def recorder(seen: list[int]) -> Callable[[np.ndarray], np.ndarray]:
        def infer(images: np.ndarray) -> np.ndarray:
            seen.append(len(images))
            return np.zeros((len(images), 2), np.float32)

        return infer

    gate = Gate()
    slow = model(gate.infer)
    one = LoadedModel(manifest=slow.manifest, infer=recorder(together), infer_alone=recorder(alone))

    async def story(batcher: Batcher) -> None:
        await batcher.submit(one, picture(1), deadline=later()).future
        await batcher.submit(one, picture(1, count=2), deadline=later()).future
        busy = batcher.submit(slow, picture(1), deadline=later())
        await begun(gate)
        await batcher.submit(one, picture(1), deadline=later()).future
        gate.let.release()
        await busy.future
        await batcher.submit(one, picture(1), deadline=later()).future

    run(story, workers=2)
    assert (alone, together) == ([1, 1], [2, 1])


def test_pictures_that_come_at_once_are_taken_together_from_the_first_on() -> None:
    gate = Gate()
    one = model(gate.infer)

    async def story(batcher: Batcher) -> None:
        works = [batcher.submit(one, picture(value), deadline=later()) for value in (1, 2, 3)]
        gate.let.release()
        await asyncio.gather(*(work.future for work in works))

    run(story)
    assert gate.batches == [[1, 2, 3]]


def test_what_waits_is_shared_out_among_the_threads() -> None:
    gate = Gate()
    one = model(gate.infer)

    async def story(batcher: Batcher) -> None:
        works = [batcher.submit(one, picture(value), deadline=later()) for value in range(8)]
        await begun(gate)
        await begun(gate)
        assert sorted(gate.batches) == [[0, 1], [2, 3, 4]]  # a fourth of eight, then half of six
        gate.let.release(8)
        await asyncio.gather(*(work.future for work in works))

    run(story, workers=2)
    assert sorted(value for batch in gate.batches for value in batch) == list(range(8))


def test_no_more_pictures_of_several_requests_are_taken_together_than_may_be_but_one_request_is_never_divided() -> None:
    gate = Gate()
    one = model(gate.infer)

    async def story(batcher: Batcher) -> None:
        works = [batcher.submit(one, picture(value), deadline=later()) for value in range(5)]
        works.append(batcher.submit(one, picture(9, count=6), deadline=later()))
        gate.let.release(10)
        await asyncio.gather(*(work.future for work in works))

    run(story, together=4, max_waiting=20)
    assert gate.batches == [[0, 1, 2, 3], [4], [9] * 6]


def test_a_quick_model_answers_a_single_picture_that_comes_alone_in_the_thread_of_the_loop() -> None:
    threads: list[threading.Thread] = []

    def infer(images: np.ndarray) -> np.ndarray:
        threads.append(threading.current_thread())
        return np.zeros((len(images), 2), np.float32)

    gate = Gate()
    slow = model(gate.infer)
    quick = LoadedModel(manifest=slow.manifest, infer=infer, alone_seconds=0.0)

    async def story(batcher: Batcher) -> None:
        await batcher.submit(quick, picture(1), deadline=later()).future
        await asyncio.gather(*(batcher.submit(quick, picture(1), deadline=later()).future for _ in range(2)))
        await batcher.submit(quick, picture(1, count=2), deadline=later()).future
        busy = batcher.submit(slow, picture(1), deadline=later())
        await begun(gate)
        await batcher.submit(quick, picture(1), deadline=later()).future
        gate.let.release()
        await busy.future

    run(story, workers=2)
    here = threading.current_thread()
    assert threads[0] is here
    assert len(threads) >= 4
    assert here not in threads[1:]


def test_a_quick_model_drops_a_request_that_is_late_or_given_up() -> None:
    def infer(images: np.ndarray) -> np.ndarray:
        raise AssertionError("nothing is computed for them")

    quick = LoadedModel(manifest=model(infer).manifest, infer=infer, alone_seconds=0.0)

    async def story(batcher: Batcher) -> None:
        with pytest.raises(DeadlineError):
            await batcher.submit(quick, picture(1), deadline=later(-1)).future
        given_up = batcher.submit(quick, picture(1), deadline=later())
        given_up.future.cancel()
        await asyncio.sleep(0)

    run(story)


def test_batch_never_mixes_two_models_and_keeps_the_order_of_the_rest() -> None:
    gate, other = Gate(), Gate()
    one, two = model(gate.infer), model(other.infer, step=2)

    async def story(batcher: Batcher) -> None:
        works = [batcher.submit(one, picture(1), deadline=later())]
        await begun(gate)
        for which, value in ((two, 2), (one, 3), (two, 4), (one, 5)):
            works.append(batcher.submit(which, picture(value), deadline=later()))
        gate.let.release(10)
        other.let.release(10)
        await asyncio.gather(*(work.future for work in works))

    run(story)
    assert gate.batches == [[1], [3, 5]]
    assert other.batches == [[2, 4]]


def test_batch_is_never_larger_than_allowed() -> None:
    gate = Gate()
    one = model(gate.infer)

    async def story(batcher: Batcher) -> None:
        works = [batcher.submit(one, picture(0), deadline=later())]
        await begun(gate)
        works += [batcher.submit(one, picture(value, count=2), deadline=later()) for value in (1, 2, 3)]
        gate.let.release(10)
        await asyncio.gather(*(work.future for work in works))

    run(story, together=5)
    assert gate.batches == [[0], [1, 1, 2, 2], [3, 3]]


def test_more_than_may_wait_is_refused_and_abandoned_requests_make_room() -> None:
    gate = Gate()
    one = model(gate.infer)

    async def story(batcher: Batcher) -> None:
        first = batcher.submit(one, picture(1), deadline=later())
        await begun(gate)
        waiting = [batcher.submit(one, picture(2), deadline=later()) for _ in range(3)]
        with pytest.raises(OverloadedError):
            batcher.submit(one, picture(3), deadline=later())
        waiting[1].future.cancel()
        last = batcher.submit(one, picture(4), deadline=later())
        gate.let.release(10)
        await asyncio.gather(first.future, waiting[0].future, waiting[2].future, last.future)

    run(story, max_waiting=3)
    assert gate.batches == [[1], [2, 2, 4]]


def test_request_whose_deadline_has_passed_is_answered_so_and_costs_no_inference() -> None:
    gate = Gate()
    one = model(gate.infer)

    async def story(batcher: Batcher) -> None:
        first = batcher.submit(one, picture(1), deadline=later())
        await begun(gate)
        late = batcher.submit(one, picture(2), deadline=later(-1))
        good = batcher.submit(one, picture(3), deadline=later())
        gate.let.release(10)
        await asyncio.gather(first.future, good.future)
        with pytest.raises(DeadlineError):
            await late.future

    run(story)
    assert gate.batches == [[1], [3]]


def test_only_the_picture_that_gave_nan_is_refused() -> None:
    gate = threading.Event()

    def infer(images: np.ndarray) -> np.ndarray:
        assert gate.wait(10)
        logits = np.zeros((len(images), 2), np.float32)
        logits[images[:, 0, 0, 0] == 2, 1] = np.nan
        logits[images[:, 0, 0, 0] == 3, 0] = np.inf
        return logits

    one = model(infer)

    async def story(batcher: Batcher) -> None:
        works = [batcher.submit(one, picture(value), deadline=later()) for value in (0, 1, 2, 3, 4)]
        gate.set()
        results = await asyncio.gather(*(work.future for work in works), return_exceptions=True)
        assert [isinstance(result, NotFiniteError) for result in results] == [False, False, True, True, False]

    run(story)


def test_model_that_raises_fails_its_batch_and_not_the_next() -> None:
    def infer(images: np.ndarray) -> np.ndarray:
        if images[0, 0, 0, 0] == 1:
            raise RuntimeError("out of memory")
        return np.zeros((len(images), 2), np.float32)

    one = model(infer)

    async def story(batcher: Batcher) -> None:
        with pytest.raises(InferenceError, match="out of memory"):
            await batcher.submit(one, picture(1), deadline=later()).future
        assert (await batcher.submit(one, picture(2), deadline=later()).future).logits.shape == (1, 2)

    run(story)


def test_stopping_answers_what_waits_and_refuses_what_comes() -> None:
    gate = Gate()
    one = model(gate.infer)

    async def story(batcher: Batcher) -> None:
        works = [batcher.submit(one, picture(value), deadline=later()) for value in (1, 2)]
        await begun(gate)
        gate.let.release(10)
        await asyncio.to_thread(batcher.stop)
        with pytest.raises(UnavailableError):
            batcher.submit(one, picture(3), deadline=later())
        await asyncio.gather(*(work.future for work in works))

    run(story)


logits = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)


@given(logits)
def test_probabilities_are_finite_and_sum_to_one(values: np.ndarray) -> None:
    probabilities = softmax(values)
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_row_with_a_number_that_is_none_is_nan_throughout(bad: float) -> None:
    probabilities = softmax(np.array([[1.0, bad], [1.0, 2.0]], np.float32))
    assert np.isnan(probabilities[0]).all()
    assert np.isfinite(probabilities[1]).all()
