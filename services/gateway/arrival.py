"""Whether a run is just being copied onto the volume: whoever copies does not say when all of it is there.

Read are the times of change (ctime) of the run's files and folders, which copying cannot set back as it does those of
modification.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from services.gateway.index import created
from shared.layout import RunFolder

BEGUN_SECONDS = 3600.0
"""No copy is waited for longer than this after it began."""

STILL_SECONDS = 30.0
"""A copy in which nothing changes for so long has ended."""

# A run that is made here has its specification within a moment of the time that its id names.
_MADE_HERE_SECONDS = 60.0


def arriving(folder: RunFolder, *, now: float, within: tuple[str, ...] = (".",)) -> bool:
    """Whether a run came from elsewhere of late and something of it was written in the last half minute.

    Args:
        folder: The run.
        now: Seconds since the epoch.
        within: The files and folders of the run that are looked at.
    """
    begun = _changed(folder.spec)
    if begun is None or not 0 <= now - begun < BEGUN_SECONDS or begun - created(folder) < _MADE_HERE_SECONDS:
        return False
    return any(now - at < STILL_SECONDS for name in within for at in _times(folder.root / name))


def trainable_later(folder: RunFolder, *, now: float) -> bool:
    """Whether what a trainer would go on from is still arriving, so that it must not be started yet.

    What evaluators and the gateway itself write into a run says nothing about that.
    """
    return arriving(folder, now=now, within=("spec.json", "desired.json", "checkpoints", "initial", "trainer"))


def _times(path: Path) -> Iterator[float]:
    """When each file and folder from `path` on was last changed."""
    if (at := _changed(path)) is not None:
        yield at
    for root, folders, files in os.walk(path):
        for name in (*folders, *files):
            if (at := _changed(Path(root, name))) is not None:
                yield at


def _changed(path: Path) -> float | None:
    try:
        return path.lstat().st_ctime
    except OSError:
        return None
