"""Tenure: the right to train a run, which one process has at a time.

`trainer/lock` is locked (flock) for the process's life, so a second trainer is refused and a dead one leaves nothing to
clean up. `trainer/fence.json` names who may commit, under a number that only grows. A trainer that was stopped rather
than killed still holds its lock; one with a higher number takes over from it once its heartbeat has stood still for
long enough: the lock file is replaced by a new one, and the old trainer, once woken, finds another name in
`fence.json`, may not commit any more, and ends.

Not promised: that a trainer which is stopped in the instant between its last check and the rename of a commit does not
finish that commit. What it commits then is what the new one would have computed for the same step.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from shared import atomic
from shared.checkpoints import CheckpointStore
from shared.errors import ConflictError, CorruptRecordError, FencedError, NotFoundError, VolumeError
from shared.layout import RunFolder
from shared.records import Fence, TrainerStatus, read_record, read_record_or_none, write_record

# Somebody who only looks whether the lock is held may hold it for an instant.
_PATIENCE = 1.0
_POLL = 0.1


@dataclass(frozen=True)
class Identity:
    """Who wants to train: slot, process and host."""

    slot: str
    pid: int
    host: str


class Tenure:
    """The right to train one run.

    Args:
        folder: The run.
        fence: This trainer's number; None takes the next one, for a trainer that is started by hand.
        identity: Who it is.
        clock: Monotonic seconds.
        wait: Sleeps for some seconds; returns True when the process was asked to stop.
        time: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        folder: RunFolder,
        fence: int | None,
        identity: Identity,
        clock: Callable[[], float],
        wait: Callable[[float], bool],
        time: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._wanted = fence
        self._identity = identity
        self._clock = clock
        self._wait = wait
        self._time = time
        self._token = secrets.token_hex(8)
        self._descriptor: int | None = None
        self._signature: tuple[int, int, int] | None = None
        self.fence = 0

    def acquire(self, *, takeover_seconds: float) -> None:
        """Takes the lock and writes `fence.json`.

        Args:
            takeover_seconds: How long the holder's heartbeat must stand still before a trainer with a higher number
                takes over. One started by hand never does.

        Raises:
            ConflictError: Another trainer has this run; names it.
            OSError: The run's folder cannot be written to.
        """
        self._refuse_if_superseded()
        if not self._lock(seconds=_PATIENCE):
            holder = self._known()
            if self._wanted is None or (holder is not None and self._wanted <= holder.fence):
                raise self._taken("is being trained")
            if not self._outlast(seconds=takeover_seconds):
                atomic.remove_file(self._folder.lock)
                if not self._lock(seconds=_PATIENCE):
                    raise self._taken("was taken over by another trainer meanwhile")
        self._refuse_if_superseded()
        self.fence = self._wanted if self._wanted is not None else self._greatest() + 1
        record = Fence(
            fence=self.fence,
            token=self._token,
            slot=self._identity.slot,
            pid=self._identity.pid,
            host=self._identity.host,
            time=self._time(),
        )
        write_record(self._folder.fence, record)
        self.check()

    def check(self) -> None:
        """Makes sure that this trainer may still commit. Costs one stat while nothing has changed.

        Raises:
            FencedError: Another trainer has taken over, or the run is gone.
            OSError: The volume does not answer.
        """
        try:
            found = self._folder.fence.stat()
            signature = (found.st_ino, found.st_mtime_ns, found.st_size)
            if signature == self._signature:
                return
            record = read_record(self._folder.fence, Fence)
        except FileNotFoundError as error:
            raise FencedError("is gone, and with it the right to commit", where=str(self._folder.fence)) from error
        if record.token != self._token:
            raise FencedError(
                f"slot {record.slot} (process {record.pid} on {record.host}) has taken over with fence {record.fence};"
                f" this trainer has {self.fence}",
                where=str(self._folder.fence),
            )
        self._signature = signature

    def release(self) -> None:
        """Gives up the lock. The end of the process would, too."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _refuse_if_superseded(self) -> None:
        if self._wanted is not None and (greatest := self._greatest()) > self._wanted:
            raise self._taken(f"was given on: this assignment has fence {self._wanted}, the newest is {greatest}")

    def _known(self) -> Fence | None:
        """Who may commit, if that can be read. A damaged record is written anew by whoever gets the lock."""
        try:
            return read_record_or_none(self._folder.fence, Fence)
        except CorruptRecordError:
            return None

    def _greatest(self) -> int:
        """The greatest number so far, also where the record of it was lost: status and checkpoints repeat it."""
        if (known := self._known()) is not None:
            return known.fence
        store, found = CheckpointStore(self._folder), [0]
        with contextlib.suppress(VolumeError):
            status = read_record_or_none(self._folder.status, TrainerStatus)
            found.append(status.fence if status else 0)
        for step in store.steps():
            with contextlib.suppress(VolumeError, NotFoundError):
                found.append(store.open(step).manifest.fence)
        return max(found)

    def _lock(self, *, seconds: float) -> bool:
        deadline = self._clock() + seconds
        while not self._try_lock():
            if self._clock() >= deadline or self._wait(_POLL):
                return False
        return True

    def _try_lock(self) -> bool:
        self._folder.trainer.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = self._folder.lock.stat()
            if current.st_ino != os.fstat(descriptor).st_ino:
                raise BlockingIOError  # it was replaced between opening and locking
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def _outlast(self, *, seconds: float) -> bool:
        """Waits until the holder lets go (True) or its heartbeat has stood still for `seconds` (False)."""
        beat = self._holders_beat()
        deadline = self._clock() + seconds
        while self._clock() < deadline:
            if self._wait(min(_POLL, seconds)):
                raise self._taken("is being trained, and this trainer was asked to stop while it waited")
            if self._try_lock():
                return True
            if self._holders_beat() != beat:
                raise self._taken("is being trained")
        return False

    def _holders_beat(self) -> int | None:
        try:
            status = read_record_or_none(self._folder.status, TrainerStatus)
        except VolumeError:
            return None
        return status.beat if status else None

    def _taken(self, what: str) -> ConflictError:
        known = self._known()
        holder = (
            f"slot {known.slot}, process {known.pid} on {known.host}, fence {known.fence}"
            if known
            else "a trainer that has only just started"
        )
        return ConflictError(f"{what} ({holder})", where=f"run {self._folder.id}", hint="Stop that one first")
