"""What the kernel says about processes: who works on a volume, what they hold open, where they listen."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

LISTENS = "0A"  # the state of a listening socket in /proc/net/tcp
MARK = "SOAK_VOLUME"  # a variable that leads from a process to the volume that it was started for


def working_on(volume: Path) -> Iterator[tuple[int, list[str]]]:
    """Every other process whose command line names the volume, with its command line."""
    for folder in _others():
        words = _words(folder / "cmdline")
        if str(volume) in words:
            yield int(folder.name), words


def begun_for(volume: Path) -> Iterator[tuple[int, list[str]]]:
    """Every other process that was begun for the volume, by whomever, as `working_on`."""
    for folder in _others():
        words = _words(folder / "cmdline")
        if str(volume) in words or f"{MARK}={volume}" in _words(folder / "environ"):
            yield int(folder.name), words


def _others() -> Iterator[Path]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield entry


def _words(path: Path) -> list[str]:
    with contextlib.suppress(OSError):  # it has ended, or is somebody else's
        return path.read_bytes().decode(errors="replace").split("\0")
    return []


def held_open(pid: int) -> list[str]:
    """What each descriptor of a process leads to, as the kernel words it; nothing if there is no such process."""
    held = []
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                held.append(str(link.readlink()))
    return held


def listening_port(pid: int) -> int | None:
    """The TCP port that a process listens at, if it does."""
    mine = set(held_open(pid))
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            _, address, _, state, *more = line.split()
            if state == LISTENS and f"socket:[{more[5]}]" in mine:
                return int(address.rpartition(":")[2], 16)
    return None
