"""The launcher of local processes: a trainer is a child process in a session of its own, which outlives the gateway.

Files, all in `<volume>/gateway/slots/`, written by the gateway alone:

- `<slot>.lock` is locked (flock) before a trainer is started and inherited by it, so the kernel holds the lock for
  exactly as long as a trainer is there. A gateway that was killed at any instant, even between starting a trainer and
  writing down its pid, leaves behind what its successor needs to see that the slot is taken.
- `<slot>.json` names the process: pid, when it began, which start of the machine.
- `<slot>.log` is what the trainer prints. Past the limit its content moves to `<slot>.log.1`; what is printed during
  that instant may be lost.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from services.gateway.launchers.base import Observation
from services.gateway.launchers.procfs import ProcessIdentity, holders
from shared.errors import ConflictError, VolumeError
from shared.layout import SLOT_NAME, Volume
from shared.records import read_record_or_none, write_record

LOCK = ".lock"


class ProcessLauncher:
    """Slots `slot-0`, `slot-1`, … on this machine.

    Args:
        volume: Where the slots' files lie.
        command: The command line of a trainer for a slot.
        count: How many slots there are.
        clock: Monotonic seconds.
        log_bytes: How much printed output is kept in each of a slot's two files.
    """

    def __init__(
        self,
        *,
        volume: Volume,
        command: Callable[[str], Sequence[str]],
        count: int,
        clock: Callable[[], float],
        log_bytes: int,
    ) -> None:
        self._folder = volume.gateway / "slots"
        self._command = command
        self._configured = [f"slot-{number}" for number in range(count)]
        self._clock = clock
        self._log_bytes = log_bytes
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._deadlines: dict[str, float] = {}

    def check(self) -> None:
        """Returns: there is nothing between the gateway and its processes that could be away."""

    def slots(self) -> Sequence[str]:
        """The configured slots, then those of an earlier configuration in which a trainer still works."""
        return [*self._configured, *self._retired()]

    def start(self, slot: str) -> int | None:
        """Starts a trainer. See `Launcher.start`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._leader(slot) is not None:
            raise ConflictError("a trainer is there already", where=f"slot {slot}")
        with self._file(slot, LOCK).open("ab") as lock, self._file(slot, ".log").open("ab") as log:
            if not _lock(lock):
                raise ConflictError("a trainer is there already", where=f"slot {slot}")
            child = subprocess.Popen(
                self._command(slot),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock.fileno(),),
            )
        self._children[slot] = child
        self._deadlines.pop(slot, None)
        identity = ProcessIdentity.of(child.pid)
        if identity is not None:
            write_record(self._file(slot, ".json"), identity)
        return child.pid

    def stop(self, slot: str, grace: float) -> None:
        """Asks for the release of the slot, once. See `Launcher.stop`."""
        leader = self._leader(slot)
        if leader is not None and slot not in self._deadlines:
            self._deadlines[slot] = self._clock() + grace
            leader.signal(signal.SIGTERM)

    def kill(self, slot: str) -> None:
        """Ends the trainer and whatever it has started."""
        leader = self._leader(slot)
        for process in {*holders(self._file(slot, LOCK)), *([leader] if leader is not None else [])}:
            process.signal(signal.SIGKILL)

    def observe(self, slot: str) -> Observation:
        """What is in the slot. Reaps an ended child, and kills what is past its grace or was left behind by it."""
        child = self._children.get(slot)
        taken = self._taken(slot)
        exit_code = None if child is None else _exit_code(child, soon=not taken)
        leader = self._leader(slot)
        alive = taken or leader is not None
        if not alive:
            self._deadlines.pop(slot, None)
        elif leader is None or self._clock() >= self._deadlines.get(slot, float("inf")):
            self.kill(slot)
        self._bound_log(slot)
        return Observation(
            alive=alive,
            pid=None if leader is None else leader.pid,
            exit_code=exit_code,
            retired=slot not in self._configured,
        )

    def _taken(self, slot: str) -> bool:
        try:
            with self._file(slot, LOCK).open("rb") as lock:
                return not _lock(lock)
        except FileNotFoundError:
            return False

    def _leader(self, slot: str) -> ProcessIdentity | None:
        """The trainer itself among the processes in the slot: the leader of its session, which it was started as."""
        path = self._file(slot, ".json")
        with contextlib.suppress(VolumeError):
            recorded = read_record_or_none(path, ProcessIdentity)
            if recorded is not None and recorded.lives():
                return recorded
        for process in holders(self._file(slot, LOCK)):
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(process.pid) == process.pid:
                    write_record(path, process)  # its gateway was killed before it could
                    return process
        return None

    def _bound_log(self, slot: str) -> None:
        path = self._file(slot, ".log")
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > self._log_bytes:
                shutil.copyfile(path, self._file(slot, ".log.1"))
                os.truncate(path, 0)  # the trainer appends, so it goes on at the new end

    def _retired(self) -> Iterator[str]:
        for path in sorted(self._folder.glob(f"*{LOCK}")):
            name = path.name.removesuffix(LOCK)
            if name not in self._configured and SLOT_NAME.fullmatch(name) and self._taken(name):
                yield name

    def _file(self, slot: str, suffix: str) -> Path:
        return self._folder / f"{slot}{suffix}"


def _exit_code(child: subprocess.Popen[bytes], *, soon: bool) -> int | None:
    """How the child ended; reaps it. `soon`: it has closed its files, so its end is a moment away, if not there."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.wait(timeout=1.0 if soon else 0.0)
    return None


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
