"""The outer loop: makes steps until it is told to stop, and does what is due between them.

It knows steps, not models. *When* something is due (`EverySteps`, `EverySeconds`, `AnyOf`) is kept apart from *what* is
done (any callable of the step and the time). Several steps go into one call of the engine where nothing is due between
them, yet never more than are made in `seconds_per_call`, so that a request to stop is seen within about a step's time.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from services.trainer.engine import Batch, BatchSource


class Stepper(Protocol):
    """What the loop needs of an engine."""

    @property
    def step(self) -> int:
        """The number of steps made."""
        ...

    def train(self, batches: Sequence[Batch]) -> None:
        """Makes one step for each batch."""
        ...


class When(Protocol):
    """Decides whether something is due."""

    def due(self, step: int, now: float) -> bool:
        """Whether it is due at `step`, `now` in monotonic seconds. Asked once a call, with steps ascending."""
        ...

    def next_step(self, step: int) -> float:
        """The first step after `step` at which counting steps makes it due; infinity if counting never does."""
        ...


class EverySteps:
    """Due at each multiple of `steps`."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def due(self, step: int, now: float) -> bool:
        """Whether `step` is a multiple."""
        return step % self._steps == 0

    def next_step(self, step: int) -> float:
        """The next multiple."""
        return (step // self._steps + 1) * self._steps


class EverySeconds:
    """Due when `seconds` have passed since it was last due, or since it was first asked."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def due(self, step: int, now: float) -> bool:
        """Whether enough time has passed; if so, the count begins anew."""
        if self._since is None:
            self._since = now
        if now - self._since < self._seconds:
            return False
        self._since = now
        return True

    def next_step(self, step: int) -> float:
        """Infinity."""
        return math.inf


class AnyOf:
    """Due when any of several is due."""

    def __init__(self, *parts: When) -> None:
        self._parts = parts

    def due(self, step: int, now: float) -> bool:
        """Whether any is."""
        answers = [part.due(step, now) for part in self._parts]  # each is asked: asking is what moves time on
        return any(answers)

    def next_step(self, step: int) -> float:
        """The nearest of theirs."""
        return min(part.next_step(step) for part in self._parts)


@dataclass(frozen=True)
class Scheduled:
    """What is done, and when. `action` gets the step and the time."""

    when: When
    action: Callable[[int, float], None]


class Loop:
    """Makes steps and does what is due.

    Args:
        engine: Makes the steps.
        source: Gives the batches.
        schedule: What is done between steps, in this order.
        clock: Monotonic seconds.
        most_steps: How many steps may go into one call of the engine.
        seconds_per_call: About how long one call may take; a single step is always made.
    """

    def __init__(
        self,
        *,
        engine: Stepper,
        source: BatchSource,
        schedule: Sequence[Scheduled],
        clock: Callable[[], float],
        most_steps: int,
        seconds_per_call: float,
    ) -> None:
        self._engine = engine
        self._source = source
        self._schedule = schedule
        self._clock = clock
        self._most_steps = most_steps
        self._seconds_per_call = seconds_per_call

    def run(self, *, until: int, interrupted: Callable[[], bool]) -> None:
        """Makes steps until `until` of them are made or `interrupted`, which is asked before each call, says so.

        Raises:
            Exception: Whatever the engine, the source, an action or `interrupted` raised.
        """
        step = self._engine.step
        count = 1
        with closing(self._source.batches(start=step, stop=until)) as batches:
            while step < until and not interrupted():
                count = int(min(count, until - step, *(item.when.next_step(step) - step for item in self._schedule)))
                began = self._clock()
                self._engine.train(list(islice(batches, count)))
                now = self._clock()
                step = self._engine.step
                for item in self._schedule:
                    if item.when.due(step, now):
                        item.action(step, now)
                count = self._affordable(seconds_per_step=(now - began) / count)

    def _affordable(self, *, seconds_per_step: float) -> int:
        if seconds_per_step * self._most_steps <= self._seconds_per_call:
            return self._most_steps
        return max(1, int(self._seconds_per_call / seconds_per_step))
