"""How a service stops: a signal sets an event that its loop looks at between two pieces of work.

The first SIGTERM or SIGINT asks to finish in order; a second one ends the process at once, which is safe at any instant
because nothing on the volume is ever half-written under its final name.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType


class StopEvent:
    """Set once something has asked the process to stop. Waiting on it is how loops sleep."""

    def __init__(self, *, exit_now: Callable[[int], object] = os._exit) -> None:
        self._event = threading.Event()
        self._exit_now = exit_now
        self.signal: int | None = None

    def install(self) -> None:
        """Takes over SIGTERM and SIGINT. Called once, by `__main__`, in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def set(self) -> None:
        """Asks for a stop from within."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleeps for at most `seconds`; returns at once, and True, when a stop is asked for."""
        return self._event.wait(seconds)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._event.is_set():
            self._exit_now(128 + number)
        self.signal = number
        self._event.set()
