"""Claims: how a fleet of evaluators shares the work, by leases on the volume.

Files: `leases/<step>.json`, replaced with each heartbeat, and `leases/.lock`, under whose lock (flock, freed by the
system when its holder dies) every change to a lease is made. So of two that find an abandoned lease only one takes it
over, and an owner that was stopped for long and wakes up cannot write over its successor.
"""

import contextlib
import fcntl
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from shared import atomic
from shared.errors import VolumeError
from shared.layout import STEP_NAME, RunFolder
from shared.leases import LeaseWatch
from shared.records import Lease, encode_record, read_record_or_none


class Claim:
    """One lease that is held."""

    def __init__(self, *, path: Path, lease: Lease, wall: Callable[[], float]) -> None:
        self._path = path
        self._lease = lease
        self._wall = wall
        self._mutex = threading.Lock()
        self._over = False

    @property
    def lost(self) -> bool:
        """Whether it is no longer held: released, or taken over by another."""
        return self._over

    @contextlib.contextmanager
    def holding(self) -> Iterator[bool]:
        """Says whether it is held, which stays so until the block ends: nobody takes it over meanwhile."""
        with self._mutex, self._alone():
            yield self._still_held()

    def beat(self) -> None:
        """Shows that its owner lives. Does nothing when it is lost."""
        with self.holding() as held:
            if held:
                self._lease = self._lease.model_copy(update={"beat": self._lease.beat + 1, "time": self._wall()})
                atomic.replace_file(self._path, encode_record(self._lease), within=self._path.parent)

    def release(self) -> None:
        """Gives the lease back. Does nothing when it is lost."""
        with self.holding() as held:
            if held:
                atomic.remove_file(self._path)
            self._over = True

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the lock of the run's leases; where the run was removed, and its leases with it, this one is lost."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(exclusively(self._path.parent / ".lock"))
            except (FileNotFoundError, NotADirectoryError):
                self._over = True
            yield

    def _still_held(self) -> bool:
        if not self._over:
            lease = _read(self._path)
            self._over = lease is None or lease.token != self._lease.token
        return not self._over


class Claims:
    """Takes leases for one evaluator.

    Args:
        owner: The evaluator's name. A lease of that name is its own from an earlier life, and taken over at once; so
            no two evaluators may bear the same name (`presence` sees to it).
        clock: Monotonic seconds.
        wall: Seconds since the epoch, for people.
        expiry: Seconds without a new beat after which a lease counts as abandoned.
    """

    def __init__(self, *, owner: str, clock: Callable[[], float], wall: Callable[[], float], expiry: float) -> None:
        self._owner = owner
        self._wall = wall
        self._held: set[Claim] = set()
        self._watch = LeaseWatch(clock=clock, expiry=expiry)

    def take(self, folder: RunFolder, step: int) -> Claim | None:
        """The claim on one checkpoint, or None while another evaluator holds it.

        An abandoned lease shows only to someone who has asked for it for as long as its expiry.

        Raises:
            OSError: The lease could not be written.
        """
        path = folder.lease(step)
        if self._held_by_another(path):
            return None
        path.parent.mkdir(exist_ok=True)
        with exclusively(path.parent / ".lock"):
            if self._held_by_another(path):
                return None
            atomic.sweep(path.parent)  # all writing happens under the lock, so what is half-written is abandoned
            lease = Lease(step=step, owner=self._owner, token=secrets.token_hex(8), beat=0, time=self._wall())
            atomic.replace_file(path, encode_record(lease), within=path.parent)  # a deleted run does not come back
        claim = Claim(path=path, lease=lease, wall=self._wall)
        self._held = {held for held in self._held if not held.lost} | {claim}
        return claim

    def leased(self, folder: RunFolder) -> list[int]:
        """The steps of a run on which there is a lease, whoever's it is and whether it lives or not."""
        try:
            names = [path.stem for path in folder.leases.iterdir() if path.suffix == ".json"]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(int(name) for name in names if STEP_NAME.fullmatch(name))

    def release_all(self) -> None:
        """Gives back whatever is held; for the end of the process."""
        for claim in self._held:
            with contextlib.suppress(OSError):
                claim.release()

    def _held_by_another(self, path: Path) -> bool:
        lease = self._watch.live(path)
        return lease is not None and lease.owner != self._owner


@contextlib.contextmanager
def exclusively(lock: Path) -> Iterator[None]:
    """Holds an exclusive lock (flock) on the file `lock`, which is made and stays. Its folder must exist."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> Lease | None:
    try:
        return read_record_or_none(path, Lease)
    except VolumeError:
        return None
