"""What the trainer tells about a run line by line: `trainer/events.jsonl` and `trainer/series.jsonl`.

A line that cannot be written (a full disk) never stops the training: it is lost, counted, and logged once until lines
can be written again.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from shared.records import Event, LineWriter

log = logging.getLogger(__name__)


class Journal:
    """Appends records to one JSON-lines file, from any thread, and outlives a disk that cannot be written to.

    Args:
        path: The file.
        on_loss: Called for each line that was lost.
    """

    def __init__(self, path: Path, *, on_loss: Callable[[], None]) -> None:
        self._path = path
        self._lines = LineWriter(path)
        self._on_loss = on_loss
        self._lock = threading.Lock()
        self._failing = False

    def append(self, record: BaseModel) -> None:
        """Appends one record, or loses it."""
        with self._lock:
            try:
                self._lines.append(record)
            except OSError as error:
                self._on_loss()
                if not self._failing:
                    log.warning("Lines are being lost: %s: %s", self._path, error.strerror)
                self._failing = True
            else:
                self._failing = False

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._lines.close()


class Events:
    """The trainer's events of one run.

    Args:
        journal: Where they go.
        time: Seconds since the epoch.
    """

    def __init__(self, *, journal: Journal, time: Callable[[], float]) -> None:
        self._journal = journal
        self._time = time

    def record(
        self, kind: str, message: str, *, step: int | None = None, level: int = logging.INFO, **details: Any
    ) -> None:
        """Tells of one event: to the file, with `details`, and to the log at `level`."""
        log.log(level, "%s", message)
        self._journal.append(
            Event(time=self._time(), service="trainer", kind=kind, message=message, step=step, details=details)
        )
