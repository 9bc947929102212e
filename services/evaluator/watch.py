"""How a commit is noticed: by inotify at once where that works, and by looking at the volume in any case.

inotify sees nothing of what another machine does on a network file system and has a limit on folders, so it only ever
shortens the wait; the ledger's own look at the volume is what nothing can escape.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from inotify_simple import INotify, flags

from shared.layout import RunFolder, Volume

_APPEARS = flags.CREATE | flags.MOVED_TO | flags.ONLYDIR


class Watch(Protocol):
    """Waits for something to happen on the volume."""

    def follow(self, folders: Iterable[RunFolder]) -> None:
        """Takes note of which runs there are. Called before each look at the volume, so that nothing slips between."""
        ...

    def wait(self, seconds: float) -> set[str]:
        """Waits for at most `seconds`; returns early, with the runs' ids, when something has appeared in some."""
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...


class PollingWatch:
    """Only waits; the look at the volume afterwards finds what there is.

    Args:
        sleep: Sleeps for so many seconds, less when a stop is asked for.
    """

    def __init__(self, *, sleep: Callable[[float], object]) -> None:
        self._sleep = sleep

    def follow(self, folders: Iterable[RunFolder]) -> None:
        """Nothing to follow."""

    def wait(self, seconds: float) -> set[str]:
        """Waits for `seconds`."""
        self._sleep(seconds)
        return set()

    def close(self) -> None:
        """Holds nothing."""


class InotifyWatch:
    """Wakes when a run, a run's checkpoints folder, or a checkpoint appears.

    Args:
        volume: The volume.
        limit: How many folders are watched at most; the newest runs come first.
        slice_seconds: The longest wait without looking at `stopping`.
        stopping: Whether a stop was asked for.

    Raises:
        OSError: The system has no inotify to give.
    """

    def __init__(
        self, *, volume: Volume, stopping: Callable[[], bool], limit: int = 4096, slice_seconds: float = 0.25
    ) -> None:
        self._volume = volume
        self._stopping = stopping
        self._limit = limit
        self._slice_seconds = slice_seconds
        self._inotify = INotify()
        self._folders: dict[int, tuple[Path, str]] = {}
        self._watched: set[Path] = set()

    def follow(self, folders: Iterable[RunFolder]) -> None:
        """Watches the folders of these runs that are not watched yet, as far as the limit allows."""
        self._add(self._volume.runs, "")
        for folder in folders:
            if len(self._watched) >= self._limit:
                return
            self._add(folder.root, folder.id)
            self._add(folder.checkpoints, folder.id)

    def wait(self, seconds: float) -> set[str]:
        """Waits for at most `seconds` for something to appear."""
        touched: set[str] = set()
        left = seconds
        while not touched and left > 0 and not self._stopping():
            slice_seconds = min(left, self._slice_seconds)
            left -= slice_seconds
            touched = self._read(slice_seconds)
        return touched | self._read(0)

    def close(self) -> None:
        """Gives the descriptor back."""
        self._inotify.close()

    def _read(self, seconds: float) -> set[str]:
        touched = set()
        for event in self._inotify.read(timeout=int(seconds * 1000)):
            path, run = self._folders.get(event.wd, (None, ""))
            if event.mask & flags.IGNORED:
                self._folders.pop(event.wd, None)
                self._watched.discard(path)
            elif not event.name.startswith("."):
                touched.add(run or event.name)
        return touched

    def _add(self, path: Path, run: str) -> None:
        if path in self._watched:
            return
        with contextlib.suppress(OSError):  # not there yet, or over the system's limit: polling will have to do
            self._folders[self._inotify.add_watch(path, _APPEARS)] = (path, run)
            self._watched.add(path)


def watch_volume(volume: Volume, *, stopping: Callable[[], bool], sleep: Callable[[float], object]) -> Watch:
    """The best watch that this system offers."""
    if hasattr(os, "uname") and os.uname().sysname == "Linux":
        with contextlib.suppress(OSError):
            return InotifyWatch(volume=volume, stopping=stopping)
    return PollingWatch(sleep=sleep)
