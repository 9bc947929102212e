import math
from collections.abc import Generator, Sequence

import numpy as np
import pytest

from services.trainer.engine import Batch
from services.trainer.loop import AnyOf, EverySeconds, EverySteps, Loop, Scheduled


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Counter:
    """Counts steps, each of which takes some time on the clock."""

    def __init__(self, clock: Clock, *, seconds: float = 0.0, step: int = 0) -> None:
        self._clock = clock
        self._seconds = seconds
        self.step = step
        self.calls: list[int] = []

    def train(self, batches: Sequence[Batch]) -> None:
        assert [batch.step for batch in batches] == list(range(self.step, self.step + len(batches)))
        self.calls.append(len(batches))
        self.step += len(batches)
        self._clock.now += self._seconds * len(batches)


class Empty:
    def __init__(self) -> None:
        self.closed = False

    def batches(self, *, start: int, stop: int) -> Generator[Batch, None, None]:
        try:
            for step in range(start, stop):
                yield Batch(step=step, images=np.empty((0, 1, 1, 3), np.uint8), labels=np.empty(0, np.int32))
        finally:
            self.closed = True


def loop_of(clock: Clock, engine: Counter, *schedule: Scheduled, source: Empty | None = None, **changes) -> Loop:
    settings = {"most_steps": 100, "seconds_per_call": 1.0, **changes}
    return Loop(engine=engine, source=source or Empty(), schedule=schedule, clock=clock, **settings)


def test_actions_are_done_at_every_multiple_and_at_no_other_step() -> None:
    clock, done = Clock(), []
    engine = Counter(clock, step=3)
    loop = loop_of(clock, engine, Scheduled(EverySteps(10), lambda step, now: done.append(step)))

    loop.run(until=47, interrupted=lambda: False)

    assert done == [10, 20, 30, 40]
    assert engine.step == 47


def test_fast_steps_go_many_to_a_call_up_to_the_next_due_action() -> None:
    clock = Clock()
    engine = Counter(clock, seconds=0.001)
    loop = loop_of(clock, engine, Scheduled(EverySteps(30), lambda step, now: None), most_steps=20)

    loop.run(until=60, interrupted=lambda: False)

    assert engine.calls == [1, 20, 9, 20, 10]


def test_slow_steps_go_one_to_a_call_so_that_a_stop_is_seen_within_a_step() -> None:
    clock = Clock()
    engine = Counter(clock, seconds=5.0)

    loop_of(clock, engine).run(until=1000, interrupted=lambda: engine.step >= 4)

    assert engine.calls == [1, 1, 1, 1]


def test_steps_in_a_call_fit_the_time_that_a_call_may_take() -> None:
    clock = Clock()
    engine = Counter(clock, seconds=0.25)

    loop_of(clock, engine, seconds_per_call=1.0).run(until=9, interrupted=lambda: False)

    assert engine.calls == [1, 4, 4]


def test_time_makes_an_action_due_whatever_the_step() -> None:
    clock, done = Clock(), []
    engine = Counter(clock, seconds=1.0)
    loop = loop_of(clock, engine, Scheduled(EverySeconds(3.0), lambda step, now: done.append((step, now))))

    loop.run(until=10, interrupted=lambda: False)

    assert done == [(4, 4.0), (7, 7.0), (10, 10.0)]


def test_any_of_is_due_when_one_of_them_is() -> None:
    when = AnyOf(EverySteps(4), EverySeconds(10.0))

    assert when.next_step(5) == 8
    assert [when.due(step, now) for step, now in [(1, 0.0), (4, 5.0), (5, 10.0), (6, 11.0), (8, 20.0)]] == [
        False,
        True,
        True,
        False,
        True,
    ]
    assert EverySeconds(1.0).next_step(5) == math.inf


def test_nothing_is_trained_when_all_steps_are_made() -> None:
    clock = Clock()
    engine = Counter(clock, step=5)

    loop_of(clock, engine).run(until=5, interrupted=lambda: False)

    assert engine.calls == []


def test_the_source_is_closed_when_an_action_fails() -> None:
    clock, source = Clock(), Empty()

    def fail(step: int, now: float) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        loop_of(clock, Counter(clock), Scheduled(EverySteps(1), fail), source=source).run(
            until=5, interrupted=lambda: False
        )

    assert source.closed
