"""The trainer's own word on a run, `trainer/status.json`: put in place whole at each change of phase and each second.

A thread writes it, so that a long compilation or a long step still beats. A trainer that was taken over falls silent:
the file is no longer its own.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.errors import FencedError, VolumeError
from shared.records import TrainerStatus, read_record_or_none, write_record

log = logging.getLogger(__name__)


class Heartbeat:
    """Writes the status of one run.

    Args:
        path: The run's `status.json`.
        status: What is known at the start; `beat` goes on from the predecessor's.
        guard: Called before each write; raises FencedError when the file belongs to another trainer.
        interval: Seconds between beats.
        time: Seconds since the epoch.
        on_loss: Called for each beat that could not be written.
    """

    def __init__(
        self,
        *,
        path: Path,
        status: TrainerStatus,
        guard: Callable[[], None],
        interval: float,
        time: Callable[[], float],
        on_loss: Callable[[], None],
    ) -> None:
        self._path = path
        self._status = status
        self._guard = guard
        self._interval = interval
        self._time = time
        self._on_loss = on_loss
        self._values = threading.Lock()  # held for an instant: the loop must not wait for a slow disk
        self._writing = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_closed, name="trainer-heartbeat", daemon=True)
        self._failing = False

    def start(self) -> None:
        """Beats once, and from now on."""
        self._continue_count()
        self.beat()
        self._thread.start()

    def update(self, **changes: Any) -> None:
        """Changes fields; they are seen with the next beat."""
        with self._values:
            self._status = self._status.model_copy(update=changes)

    def tell(self, **changes: Any) -> None:
        """Changes fields and beats at once: for a change of phase."""
        self.update(**changes)
        self.beat()

    def beat(self) -> None:
        """Puts the status in place. Does not raise: what cannot be written is logged once, and tried again."""
        with self._writing:
            with self._values:
                self._status = self._status.model_copy(update={"beat": self._status.beat + 1, "time": self._time()})
                status = self._status
            try:
                self._guard()
                write_record(self._path, status)
            except FencedError:
                self._closing.set()
            except (OSError, VolumeError) as error:
                self._on_loss()
                if not self._failing:
                    log.warning("The status cannot be written: %s: %s", self._path, error)
                self._failing = True
            else:
                self._failing = False

    def close(self) -> None:
        """Stops beating."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _continue_count(self) -> None:
        try:
            before = read_record_or_none(self._path, TrainerStatus)
        except VolumeError:
            before = None
        if before is not None:
            self.update(beat=before.beat)

    def _beat_until_closed(self) -> None:
        while not self._closing.wait(self._interval):
            self.beat()
