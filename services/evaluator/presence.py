"""An evaluator's name, which no other bears while it lives, and its own word on itself.

Files: `evaluators/<name>/lock`, locked (flock) for as long as the evaluator lives, and `evaluators/<name>/status.json`,
replaced with each heartbeat.
"""

import fcntl
import itertools
import os
import platform
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from shared import atomic
from shared.errors import SettingsError
from shared.layout import Volume
from shared.records import EvaluatorStatus, write_record


def take_name(volume: Volume, wanted: str | None) -> str:
    """Takes a name until this process ends.

    Args:
        volume: The volume.
        wanted: The name, or None for the first free one of `evaluator`, `evaluator-2`, …

    Raises:
        SettingsError: Another evaluator bears that name.
        OSError: Its folder cannot be made.
    """
    if wanted is not None:
        if not _lock(volume.evaluator(wanted)):
            raise SettingsError("another evaluator of this volume bears it", where=f"the name {wanted}")
        return wanted
    names = itertools.chain(["evaluator"], (f"evaluator-{number}" for number in itertools.count(2)))
    return next(name for name in names if _lock(volume.evaluator(name)))


class Presence:
    """Writes `status.json`; `beat` is called by a pulse while the loop says what it does. Thread-safe.

    Args:
        path: The file.
        name: The evaluator's name.
        versions: Of what decides its results.
        wall: Seconds since the epoch.
    """

    def __init__(self, *, path: Path, name: str, versions: Mapping[str, str], wall: Callable[[], float]) -> None:
        self._path = path
        self._wall = wall
        self._mutex = threading.Lock()
        self._status = EvaluatorStatus(
            name=name, pid=os.getpid(), host=platform.node(), beat=0, time=wall(), versions=dict(versions)
        )

    def idle(self, *, backlog: int) -> None:
        """Notes that nothing is in hand."""
        self._note(run=None, step=None, backlog=backlog)

    def busy(self, run: str, step: int) -> None:
        """Notes what is in hand."""
        self._note(run=run, step=step)

    def beat(self) -> None:
        """Writes the file.

        Raises:
            OSError: It could not be written.
        """
        with self._mutex:
            self._status = self._status.model_copy(update={"beat": self._status.beat + 1, "time": self._wall()})
            write_record(self._path, self._status)

    def _note(self, **changes: object) -> None:
        with self._mutex:
            self._status = self._status.model_copy(update=changes)


def _lock(folder: Path) -> bool:
    atomic.make_folder(folder)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    atomic.sweep(folder)
    return True  # the descriptor stays open, and with it the lock, until the process ends
