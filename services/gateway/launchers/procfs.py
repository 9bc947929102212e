"""Processes as the kernel names them: a pid together with when it began, so that a reused pid is never mistaken."""

import contextlib
import os
import signal
from pathlib import Path

from pydantic import BaseModel, ConfigDict

PROC = Path("/proc")


class ProcessIdentity(BaseModel):
    """One process, for as long as it lives and after.

    Attributes:
        pid: Its number, which another process may get once it is gone.
        began: Clock ticks between the machine's start and its own (field 22 of `/proc/<pid>/stat`).
        boot: Which start of the machine that was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    began: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """The process that has this pid now; None if there is none, or if it has ended and was not reaped yet."""
        try:
            text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
            boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
        return None if fields[0] in "ZX" else cls(pid=pid, began=int(fields[19]), boot=boot)

    def lives(self) -> bool:
        """Whether this very process, and not just its pid, is there."""
        return self.of(self.pid) == self

    def signal(self, number: signal.Signals) -> bool:
        """Sends a signal to this very process, never to another that has got its pid; returns whether it was sent."""
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                if self.lives():  # the descriptor is bound to what had the pid when it was opened
                    signal.pidfd_send_signal(descriptor, number)
                    return True
            finally:
                os.close(descriptor)
        return False


def holders(path: Path) -> list[ProcessIdentity]:
    """The processes that have the file at `path` open, as far as this user may see, without the one that asks."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return []
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _has_open(entry, wanted):
            identity = ProcessIdentity.of(int(entry.name))
            if identity is not None:
                found.append(identity)
    return sorted(found, key=lambda identity: identity.began)


def _has_open(process: Path, wanted: os.stat_result) -> bool:
    try:
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                found = link.stat()
                if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    except OSError:
        return False  # it has ended, or it belongs to somebody else
    return False
