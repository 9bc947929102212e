"""What a measurement was made on, and how busy the machine was meanwhile."""

import platform
import threading
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from shared.devices import available_processors, processor_features


def describe() -> dict[str, str]:
    """Processor, its number and vector instructions, and the versions that matter, for the record."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "?")
    versions = {name: _version(name) for name in ("tensorflow-cpu", "tensorflow", "keras", "numpy")}
    return {
        "processor": model,
        "processors": str(available_processors()),
        "features": processor_features(),
        "python": platform.python_version(),
        **{name: version for name, version in versions.items() if version},
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def processor_times() -> tuple[int, int]:
    """What all processors spent since the machine started, in ticks: in all, and idle. Waiting for a disk is idle."""
    line, _ = Path("/proc/stat").read_text().split("\n", 1)
    fields = [int(field) for field in line.split()[1:9]]
    return sum(fields), fields[3] + fields[4]


@dataclass(frozen=True)
class Load:
    """Who used the processors' time during a window, as shares of all of it."""

    own: float
    others: float
    idle: float


class LoadLog:
    """Notes who uses the processors while it runs, so that the load during any window can be told afterwards.

    On a machine shared with others a measurement is worth as much as `others` is small and steady.
    """

    def __init__(self, *, interval: float = 0.1) -> None:
        self._interval = interval
        self._samples: list[tuple[float, float, float, float]] = []
        self._pid: int | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "LoadLog":
        """Starts noting."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops noting."""
        self._closed.set()
        self._thread.join()

    def watch(self, pid: int) -> None:
        """From here on this process is the one whose own use is noted."""
        self._pid = pid

    def during(self, start: float, end: float) -> Load:
        """The load between two times, in seconds since the epoch, in which the watched process lived."""
        first, *_, last = (sample for sample in self._samples if start <= sample[0] <= end)
        total, idle, own = (after - before for before, after in zip(first[1:], last[1:], strict=True))
        return Load(own=own / total, others=max(0.0, 1 - (own + idle) / total), idle=idle / total)

    def _run(self) -> None:
        while not self._closed.wait(self._interval):
            self._samples.append((time.time(), *processor_times(), _processor_ticks(self._pid)))


def _processor_ticks(pid: int | None) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The second field, the command in parentheses, may contain spaces; user and system time are fields 14 and 15.
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
