"""What others want of the trainer: `desired.json`, and signals.

`desired.json` has one writer, the gateway. It is looked at between steps, at most every `poll_seconds`, and only read
when the file has been replaced. A record that cannot be read changes nothing: the last good word holds.
"""

import logging
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from shared.errors import VolumeError
from shared.lifecycle import StopEvent
from shared.records import Desired, read_record_or_none

log = logging.getLogger(__name__)


class Request(Enum):
    """What is asked of a trainer instead of training on."""

    HOLD = "hold"
    RELEASE = "release"
    STOP = "stop"
    KILL = "kill"


class Control:
    """Follows `desired.json` and the stop event.

    Args:
        path: The run's `desired.json`; a run without one is to be trained.
        stop: Set by SIGTERM and SIGINT, which ask to release the slot.
        clock: Monotonic seconds.
        poll_seconds: How often the file is looked at.
        on_change: Called with each new record that was seen.
    """

    def __init__(
        self,
        *,
        path: Path,
        stop: StopEvent,
        clock: Callable[[], float],
        poll_seconds: float,
        on_change: Callable[[Desired], None],
    ) -> None:
        self._path = path
        self._stop = stop
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._on_change = on_change
        self._looked: float | None = None
        self._signature: tuple[int, int, int] | None = None
        self._desired: Desired | None = None

    def request(self) -> Request | None:
        """What is asked for now, or None: to train. A signal outranks holding, and ending for good outranks both."""
        stopping = self._stop.is_set()
        now = self._clock()
        if stopping or self._looked is None or now - self._looked >= self._poll_seconds:
            self._looked = now
            self._look()
        state = self._desired.state if self._desired else "running"
        if state == "stopped" and self._desired is not None:
            return Request.KILL if self._desired.kill else Request.STOP
        if stopping:
            return Request.RELEASE
        if state == "paused" and self._desired is not None:
            return Request.HOLD if self._desired.pause == "hold" else Request.RELEASE
        return None

    @property
    def desired(self) -> Desired | None:
        """What `desired.json` said when it was last looked at."""
        return self._desired

    def wait(self) -> None:
        """Sleeps until it is worth asking again."""
        self._stop.wait(self._poll_seconds)

    def _look(self) -> None:
        try:
            found = self._path.stat()
        except OSError:
            return  # there is none yet, or the volume is away for a moment: the last word holds
        signature = (found.st_ino, found.st_mtime_ns, found.st_size)
        if signature == self._signature:
            return
        self._signature = signature
        try:
            desired = read_record_or_none(self._path, Desired)
        except (VolumeError, OSError) as error:
            log.warning("What is desired of this run cannot be read; the last word holds: %s", error)
            return
        if desired is not None and desired != self._desired:
            self._desired = desired
            self._on_change(desired)
