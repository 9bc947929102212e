"""A look at the volume each second: a verdict stays the file that it is, and no run's newest checkpoint goes back."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.soak.load import Load
from shared.layout import RunFolder, Volume, listed_steps

PERIOD_SECONDS = 1.0
LOOKS = 5


class Watch(Load):
    """Looks until it is stopped, and then for the last time.

    Args:
        volume: What is looked at.
    """

    def __init__(self, *, volume: Volume) -> None:
        super().__init__(self._watch)
        self.verdicts: dict[Path, tuple[int, int, int]] = {}
        self._volume = volume
        self._newest: dict[str, int] = {}

    def stop(self) -> None:
        """Ends the looks, but for one more."""
        super().stop()
        self.look()

    def look(self) -> None:
        """Compares what is there with what was there before."""
        for folder in self._volume.run_folders():
            self._look_at_checkpoints(folder)
            for path, identity in _verdicts(folder):
                if self.verdicts.setdefault(path, identity) != identity:
                    self.troubles.append(f"{path.relative_to(self._volume.root)} was written more than once")
                    self.verdicts[path] = identity
        gone = [path for path in self.verdicts if not path.exists()]
        self.troubles += [f"{path.relative_to(self._volume.root)} is gone" for path in gone]
        for path in gone:
            del self.verdicts[path]

    def _watch(self) -> None:
        while self.goes_on(PERIOD_SECONDS):
            self.look()

    def _look_at_checkpoints(self, folder: RunFolder) -> None:
        before = self._newest.get(folder.id, -1)
        # A listing may miss a name that comes and one that goes while it is made, so one look alone tells nothing.
        for _ in range(LOOKS):
            newest = max(listed_steps(folder.checkpoints), default=-1)
            if newest >= before:
                break
        else:
            self.troubles.append(f"the newest checkpoint of {folder.id} went from {before} back to {newest}")
        self._newest[folder.id] = newest


def _verdicts(folder: RunFolder) -> Iterator[tuple[Path, tuple[int, int, int]]]:
    for step in listed_steps(folder.evaluations):
        for path in (folder.evaluations / str(step)).glob("[!.]*.json"):
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                yield path, (found.st_ino, found.st_mtime_ns, found.st_size)
