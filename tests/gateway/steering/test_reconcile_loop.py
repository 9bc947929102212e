import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.gateway.steering.reconcile_loop import ReconcileLoop
from shared.errors import UnavailableError
from shared.lifecycle import StopEvent


class Steps:
    """Stands for a reconciler: each step does what the test says next."""

    def __init__(self) -> None:
        self.made = 0
        self.error: Exception | None = None

    def step(self) -> None:
        self.made += 1
        if self.error is not None:
            raise self.error


class Woken(threading.Event):
    """Keeps how long it was waited for, and lets that be over at once if the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []
        self.hurried = False

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return super().wait(0 if self.hurried else timeout)


class Turning:
    def __init__(self) -> None:
        self.steps = Steps()
        self.now = 0.0
        self.failures = 0
        self.stop = StopEvent()
        self.woken = Woken()
        reconciler: Any = self.steps
        self.loop = ReconcileLoop(
            reconciler=reconciler,
            stop=self.stop,
            woken=self.woken,
            clock=lambda: self.now,
            poll=60,
            failures=self._failed,
        )

    def _failed(self) -> None:
        self.failures += 1

    def turn(self) -> None:
        made = self.steps.made
        self.woken.set()
        until(lambda: self.steps.made > made)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture
def turning() -> Iterator[Turning]:
    made = Turning()
    yield made
    made.stop.set()
    made.loop.join()


def test_it_is_not_ready_before_its_first_step(turning: Turning) -> None:
    assert turning.loop.why_not_ready() == "the volume has not been read yet"
    turning.loop.start()
    until(lambda: turning.loop.why_not_ready() is None)


def test_whoever_wakes_it_does_not_wait_for_its_next_turn(turning: Turning) -> None:
    turning.loop.start()
    until(lambda: turning.steps.made == 1)
    turning.turn()


def test_a_failing_step_is_counted_logged_once_and_tried_again(
    turning: Turning, caplog: pytest.LogCaptureFixture
) -> None:
    turning.steps.error = OSError("the disk is away")
    with caplog.at_level(logging.ERROR):
        turning.loop.start()
        until(lambda: turning.failures == 1)
        turning.turn()
        until(lambda: turning.failures == 2)
    assert turning.loop.why_not_ready() == "the reconcile loop failed: the disk is away"
    assert len(caplog.records) == 1
    turning.steps.error = None
    turning.turn()
    until(lambda: turning.loop.why_not_ready() is None)


def test_a_step_that_hangs_is_noticed(turning: Turning) -> None:
    turning.loop.start()
    until(lambda: turning.loop.why_not_ready() is None)
    turning.now = 700.0
    assert turning.loop.why_not_ready() == "no step was made for 700 s"


def test_f30_the_next_look_is_taken_a_period_later_if_nobody_wakes_it(turning: Turning) -> None:
    turning.woken.hurried = True
    turning.loop.start()
    until(lambda: turning.steps.made > 3)
    assert set(turning.woken.waits[:3]) == {60}


def test_f31_what_failed_is_tried_again_within_a_period_and_never_in_step(turning: Turning) -> None:
    turning.woken.hurried = True
    turning.steps.error = UnavailableError("the Docker engine does not answer")
    turning.loop.start()
    until(lambda: turning.failures > 50)
    waits = [wait for wait in turning.woken.waits[:50] if wait is not None]
    assert len(set(waits)) == 50
    assert all(30 <= wait <= 60 for wait in waits)
    assert max(waits) - min(waits) > 15
