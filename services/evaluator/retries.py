"""When something that failed is tried again, and when a damaged checkpoint is given up. In memory alone."""

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path


class Retries:
    """Doubling waits after failures, for each key apart.

    Args:
        clock: Monotonic seconds.
        first: Seconds of the first wait.
        longest: Seconds that a wait grows to.
    """

    def __init__(self, *, clock: Callable[[], float], first: float = 1.0, longest: float = 60.0) -> None:
        self._clock = clock
        self._first = first
        self._longest = longest
        self._failures: dict[Hashable, int] = {}
        self._until: dict[Hashable, float] = {}

    def ready(self, key: Hashable) -> bool:
        """Whether it may be tried now."""
        return self._clock() >= self._until.get(key, float("-inf"))

    def failures(self, key: Hashable) -> int:
        """How often it failed in a row."""
        return self._failures.get(key, 0)

    def failed(self, key: Hashable) -> int:
        """Notes a failure; returns how many there were in a row."""
        count = self._failures[key] = self.failures(key) + 1
        self._until[key] = self._clock() + min(self._longest, self._first * 2.0 ** min(count - 1, 60))
        return count

    def later(self, key: Hashable, seconds: float) -> None:
        """Puts it off without counting a failure."""
        self._until[key] = self._clock() + seconds

    def forget(self, key: Hashable) -> None:
        """Notes that it went well, or is no more."""
        self._failures.pop(key, None)
        self._until.pop(key, None)


@dataclass(frozen=True)
class _Suspicion:
    appearance: str
    since: float


class Suspicions:
    """Damaged checkpoints, which may merely be still being copied: condemned once they lie unchanged for a while.

    Args:
        clock: Monotonic seconds.
        patience: Seconds without a change of any file's name, size or time.
    """

    def __init__(self, *, clock: Callable[[], float], patience: float) -> None:
        self._clock = clock
        self._patience = patience
        self._suspicions: dict[Path, _Suspicion] = {}

    def confirmed(self, folder: Path) -> str | None:
        """The appearance of `folder` if the damage in it, which has just been seen again, counts; or else None."""
        appearance = appearance_of(folder)
        now = self._clock()
        known = self._suspicions.get(folder)
        if known is None or known.appearance != appearance:
            known = self._suspicions[folder] = _Suspicion(appearance=appearance, since=now)
        if now - known.since < self._patience:
            return None
        del self._suspicions[folder]
        return appearance

    def wait(self) -> float:
        """Seconds until it is worth looking at a suspect again."""
        return max(self._patience / 4, 0.05)


def appearance_of(folder: Path) -> str:
    """What is another one when a file in `folder` comes, goes, or changes its size or time."""
    try:
        files = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except OSError:
        files = []
    listed = "".join(f"{stat.st_size} {stat.st_mtime_ns} {name}\n" for name, stat in files)
    return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()
