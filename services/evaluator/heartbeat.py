"""A heartbeat: a thread that does one small thing at an even pace for as long as its owner works."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType

_LOG = logging.getLogger(__name__)


class Heartbeat:
    """Calls `beat` every `seconds` from entering a `with` block until leaving it.

    What `beat` raises is logged and the next beat tried: a heartbeat that misses is noticed by whoever listens to it.
    """

    def __init__(self, beat: Callable[[], None], *, seconds: float, name: str) -> None:
        self._beat = beat
        self._seconds = seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(self._seconds):
            try:
                self._beat()
            except Exception:  # the thread's outer edge: a disk that fails once must not end the heartbeat
                _LOG.warning("a heartbeat failed (%s)", self._thread.name, exc_info=True)
