"""Which runs are on a volume."""

import math
import os
from collections.abc import Callable
from pathlib import Path

from services.gateway.index.marks import Stamp, stamp_of
from shared.layout import RUN_ID, Volume

# A file system's clock ticks in up to a second, and what is mounted from elsewhere may tell of changes late.
SETTLING_SECONDS = 2.0
LISTED_SECONDS = 60.0


class RunNames:
    """The ids of the runs on a volume. Listed only when the folder has changed, and now and then.

    Args:
        volume: Where they lie.
        clock: Monotonic seconds.
    """

    def __init__(self, *, volume: Volume, clock: Callable[[], float]) -> None:
        self._folder = volume.runs
        self._clock = clock
        self._mark: Stamp = None
        self._changed = self._listed = -math.inf
        self._bare: list[str] = []
        self.ids: list[str] = []
        self._known: set[str] = set()

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._known

    def look(self) -> bool:
        """Looks; whether `ids`, oldest first, may be others than before."""
        now = self._clock()
        mark = _mark(self._folder)
        if mark != self._mark:
            self._mark, self._changed = mark, now
        settled = self._listed - self._changed >= SETTLING_SECONDS and now - self._listed < LISTED_SECONDS
        if settled and not any(self._begun(name) for name in self._bare):
            return False
        self._listed = now
        try:
            with os.scandir(self._folder) as entries:
                names = sorted(entry.name for entry in entries if RUN_ID.fullmatch(entry.name))
        except (FileNotFoundError, NotADirectoryError):
            names = []
        # Whether a run that is known still has its specification is seen when it is looked at.
        self._bare = [name for name in names if name not in self._known and not self._begun(name)]
        bare = set(self._bare)
        self.ids = [name for name in names if name not in bare] if bare else names
        self._known = set(self.ids)
        return True

    def drop(self, run_id: str) -> None:
        """Takes a run that is gone from the list; it comes back if its folder has a specification again."""
        if run_id in self._known:
            self._known.discard(run_id)
            self._listed = -math.inf

    def _begun(self, name: str) -> bool:
        return stamp_of(f"{self._folder}/{name}/spec.json") is not None


def _mark(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_nlink, found.st_ino
