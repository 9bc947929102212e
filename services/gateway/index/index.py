"""What the volume says about every run, held in memory so that thousands of runs are listed in milliseconds.

Nothing here is truth: files are read again when their time, size or inode has changed. Each gateway reads or verifies
everything anew, the newest runs first, and for at most some time in each `refresh`, so it steers and answers long
before it has been through thousands of old runs. Runs at work are looked at in each `refresh`; of the others a slice at
a time, so an evaluation of a finished run is seen a little later. `get` always looks. What many runs have in common is
held once, and of those that were put on the shelf only what lists need (`shelf`).
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from services.gateway.index.marks import mark_of
from services.gateway.index.names import RunNames
from services.gateway.index.reading import Entry, RunReader
from services.gateway.index.run import Run
from services.gateway.index.shelf import Shelf, Shelved
from shared.errors import NotFoundError, TandemError
from shared.layout import RunFolder, Volume

SLICE = 50
ROUND = 120
BORROWED = 64


class Index:
    """The runs of one volume. Safe to use from several threads.

    Args:
        volume: What to look at.
        clock: Monotonic seconds.
        seconds: For how long each `refresh` may read or verify runs that it has not seen yet.
        shelf: Holds settled runs.
    """

    def __init__(
        self,
        *,
        volume: Volume,
        clock: Callable[[], float] = time.monotonic,
        seconds: float = 0.25,
        shelf: Shelf | None = None,
    ) -> None:
        self._volume = volume
        self._clock = clock
        self._seconds = seconds
        self._shelf = Shelf() if shelf is None else shelf
        self._reader = RunReader()
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._borrowed: OrderedDict[str, Entry] = OrderedDict()
        self._names = RunNames(volume=volume, clock=clock)
        self._new: list[str] = []
        self._unverified: list[str] = []
        self._round: list[str] = []
        self._next = 0
        self._loaded = False

    def refresh(self, at_work: Callable[[Run], bool]) -> None:
        """Looks for new and removed runs, at every run at work, and at a slice of the others.

        Of settled runs on the shelf each is looked at once in `ROUND` calls.

        Args:
            at_work: Whether a run may change at any moment.
        """
        with self._lock:
            self._list()
            resting = []
            for run_id, entry in list(self._entries.items()):
                if entry.run is None or at_work(entry.run):
                    self._look_again(run_id)
                else:
                    resting.append(run_id)
            self._go_through()
            for position in range(min(SLICE, len(resting))):
                self._look_again(resting[(self._next + position) % len(resting)])
            self._next = (self._next + SLICE) % len(resting) if len(resting) > SLICE else 0
            self._round = self._round or self._shelf.ids()
            for _ in range(min(len(self._round), max(SLICE, math.ceil(len(self._shelf) / ROUND)))):
                self._verify(self._round.pop())
            self._loaded = True

    @property
    def unread(self) -> int:
        """How many runs have been neither read nor verified yet since this gateway began."""
        return len(self._new) + len(self._unverified)

    def runs(self) -> list[Run]:
        """Every readable run that is not on the shelf, oldest first."""
        return self.all()[0]

    def all(self) -> tuple[list[Run], Sequence[Shelved]]:
        """Every readable run, oldest first; those on the shelf apart, newest first."""
        with self._lock:
            self._load()
            runs = sorted(
                (entry.run for entry in self._entries.values() if entry.run is not None),
                key=lambda run: (run.created, run.id),
            )
            return runs, self._shelf.newest_first()

    def shelved(self, version: int) -> tuple[int, list[Shelved]]:
        """What was put on the shelf after a version, and the version now. At first: version 0."""
        with self._lock:
            return self._shelf.since(version)

    def shelved_states(self) -> dict[str, int]:
        """How many runs on the shelf are in each state."""
        with self._lock:
            return dict(self._shelf.states)

    def with_key(self, key: str) -> list[Run]:
        """The runs that were made with this idempotency key."""
        with self._lock:
            awake = [run for run in self.runs() if run.origin is not None and run.origin.key == key]
            return [self.get(run_id) for run_id in self._shelf.with_key(key)] + awake

    def is_there(self, run_id: str) -> bool:
        """Whether the run was there when runs were last listed, read or not."""
        with self._lock:
            return run_id in self._names

    def problems(self) -> dict[str, TandemError]:
        """The runs that cannot be read, and why."""
        with self._lock:
            self._load()
            return {name: entry.problem for name, entry in self._entries.items() if entry.problem is not None}

    def get(self, run_id: str) -> Run:
        """One run, as it is now.

        Raises:
            InputError: `run_id` is not a run's id.
            NotFoundError: There is no such run.
            VolumeError: One of its records cannot be used.
        """
        folder = self._volume.run(run_id)
        with self._lock:
            if not folder.spec.exists():
                self.forget(run_id)
                raise NotFoundError(f"there is no run {run_id}", where="run", hint="GET /v1/runs lists them all")
            entry = self._look(folder) if self._awake(run_id) else self._borrow(folder)
            if entry.run is None:
                raise entry.problem or NotFoundError(f"run {run_id} cannot be read", where="run")
            return entry.run

    def shelve(self, run_id: str, described: Callable[[Run, str], Shelved | None]) -> None:
        """Holds of a settled run only what lists need, unless `described`, given its mark too, says that it may not."""
        folder = self._volume.run(run_id)
        with self._lock:
            mark = mark_of(folder)  # before its files are read, so whatever is written meanwhile makes another one
            run = None if mark is None else self._look(folder).run
            found = None if run is None or mark is None else described(run, mark)
            if found is not None:
                self._shelf.put(found)
                del self._entries[run_id]

    def forget(self, run_id: str) -> None:
        """Drops a run that is gone."""
        with self._lock:
            self._entries.pop(run_id, None)
            self._borrowed.pop(run_id, None)
            self._shelf.take(run_id)
            self._names.drop(run_id)

    def _list(self) -> None:
        """Finds out which runs are there."""
        if not self._names.look():
            return
        if not self._loaded:
            self._shelf.load(set(self._names.ids))
            self._unverified = sorted(self._shelf.ids())
        for gone in [*self._entries, *self._shelf.ids()]:
            if gone not in self._names:
                self.forget(gone)
        self._new = [run_id for run_id in self._names.ids if run_id not in self._entries and run_id not in self._shelf]

    def _go_through(self) -> None:
        """Reads runs that were not read yet, then verifies those on the shelf, newest first, until time is up."""
        end = self._clock() + self._seconds
        while self._new or self._unverified:
            if self._new:
                self._look_again(self._new.pop())
            else:
                self._verify(self._unverified.pop())
            if self._clock() >= end:
                break

    def _verify(self, run_id: str) -> None:
        """Takes a run from the shelf if what is held of it is old."""
        held = self._shelf.get(run_id)
        if held is not None and mark_of(self._volume.run(run_id)) != held.mark:
            self._shelf.take(run_id)
            self._look_again(run_id)

    def _awake(self, run_id: str) -> bool:
        """Whether a run is not on the shelf (any more, if what is held of it is old)."""
        self._verify(run_id)
        return run_id not in self._shelf

    def _borrow(self, folder: RunFolder) -> Entry:
        """Reads a run that stays on the shelf."""
        entry = self._borrowed[folder.id] = self._borrowed.pop(folder.id, Entry())
        if len(self._borrowed) > BORROWED:
            self._borrowed.popitem(last=False)
        return self._reader.look(folder, entry)

    def _load(self) -> None:
        if not self._loaded:
            self.refresh(lambda _: True)

    def _look_again(self, run_id: str) -> None:
        """Reads again what has changed of a run that may be gone."""
        folder = self._volume.run(run_id)
        if folder.spec.exists():
            self._look(folder)
        else:
            self.forget(run_id)

    def _look(self, folder: RunFolder) -> Entry:
        """Reads again what has changed of one run."""
        return self._reader.look(folder, self._entries.setdefault(folder.id, Entry()))
