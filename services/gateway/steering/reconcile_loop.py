"""Has a reconciler make its steps, in a thread: from time to time, and as soon as somebody wakes it."""

import logging
import random
import threading
from collections.abc import Callable

from services.gateway.steering.reconcile import Reconciler
from shared.lifecycle import StopEvent

log = logging.getLogger(__name__)

CATCHING_UP = 0.05  # seconds between two steps, which leave room for requests


class ReconcileLoop:
    """Runs a reconciler in a thread until told to stop.

    Args:
        reconciler: What makes the steps.
        stop: Ends the loop.
        woken: Set to have the next step made now.
        clock: Monotonic seconds.
        poll: Seconds between two steps when nobody wakes it; up to half as many less after one that failed.
        failures: Called for each step that raised.
    """

    def __init__(
        self,
        *,
        reconciler: Reconciler,
        stop: StopEvent,
        woken: threading.Event,
        clock: Callable[[], float],
        poll: float,
        failures: Callable[[], None],
    ) -> None:
        self._reconciler = reconciler
        self._stop = stop
        self._clock = clock
        self._poll = poll
        self._failures = failures
        self._woken = woken
        self._thread = threading.Thread(target=self._run, name="reconcile", daemon=True)
        self._last: float | None = None
        self._trouble: str | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def join(self) -> None:
        """Waits until the thread has ended; `stop` must have been set."""
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def why_not_ready(self) -> str | None:
        """Why nothing is being steered, or None if it is."""
        if self._trouble is not None:
            return self._trouble
        if self._last is None:
            return "the volume has not been read yet"
        silent = self._clock() - self._last
        return f"no step was made for {silent:.0f} s" if silent > 10 * self._poll + 10 else None

    def _run(self) -> None:
        while not self._stop.is_set():
            self._woken.clear()
            pause = self._poll
            try:
                if self._reconciler.step():
                    pause = min(pause, CATCHING_UP)
                self._trouble = None
            except Exception as error:
                self._failures()
                text = f"the reconcile loop failed: {error}"
                if text != self._trouble:
                    log.exception("the reconcile loop failed; it tries again")
                self._trouble = text
                # Gateways that found one engine away do not ask it in step ever after.
                pause *= random.uniform(0.5, 1.0)  # nosec B311
            self._last = self._clock()
            self._woken.wait(pause)
