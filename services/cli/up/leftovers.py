"""Finds processes of `tandem up` by a mark in their environment, which trainers inherit from the gateway.

So a killed `tandem up` leaves nothing behind that the next one would not find, and a second Ctrl-C reaches trainers
too. Reads `/proc`; where there is none, nothing is found.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

MARK = "TANDEM_UP_VOLUME"


def marked(volume: Path, module: str, proc: Path = Path("/proc")) -> Iterator[int]:
    """The ids of processes of `module` (such as `services.trainer`) that were started by `tandem up` on `volume`."""
    mark = f"{MARK}={volume}".encode()
    try:
        names = sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit())
    except OSError:
        return
    for pid in names:
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            arguments = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
            if module.encode() in arguments and mark in (proc / str(pid) / "environ").read_bytes().split(b"\0"):
                yield pid


def kill_marked(volume: Path, module: str) -> None:
    """Ends those processes at once. Safe in a signal handler."""
    for pid in marked(volume, module):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def stop_leftovers(volume: Path, *, grace: float, clock: Callable[[], float], wait: Callable[[float], object]) -> int:
    """Stops the gateway and evaluator that a killed `tandem up` left on `volume`, and waits for their end.

    The trainer is not touched: its gateway stops it, or the next gateway takes it over.

    Returns:
        How many there were.
    """
    modules = ("services.gateway", "services.evaluator")
    found = [pid for module in modules for pid in marked(volume, module)]
    for pid in found:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGTERM)
    deadline = clock() + grace
    while clock() < deadline and any(True for module in modules for _ in marked(volume, module)):
        wait(0.1)
    for module in modules:
        kill_marked(volume, module)
    return len(found)
