"""Whether a run is just being copied onto the volume: whoever copies does not say when all of it is there.

Read are the times of change (ctime) of the run's files and folders, which copying cannot set back as it does those of
modification.
"""

import os
from pathlib import Path

from services.gateway.index import created
from shared.layout import RunFolder

BEGUN_SECONDS = 3600.0
"""No copy is waited for longer than this after it began."""

STILL_SECONDS = 30.0
"""A copy in which nothing changes for so long has ended."""

# A run that is made here has its specification within a moment of the time that its id names.
_MADE_HERE_SECONDS = 60.0


def arriving(folder: RunFolder, *, now: float) -> bool:
    """Whether a run came from elsewhere of late and something of it was written in the last half minute.

    Args:
        folder: The run.
        now: Seconds since the epoch.
    """
    begun = _changed(folder.spec)
    if begun is None or begun - created(folder) < _MADE_HERE_SECONDS or not 0 <= now - begun < BEGUN_SECONDS:
        return False
    for root, folders, files in os.walk(folder.root):
        for name in (*folders, *files):
            at = _changed(Path(root, name))
            if at is not None and now - at < STILL_SECONDS:
                return True
    return False


def _changed(path: Path) -> float | None:
    try:
        return path.lstat().st_ctime
    except OSError:
        return None
