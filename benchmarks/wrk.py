"""Load on an HTTP server by wrk, and what it and the server's processes showed meanwhile."""

import os
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Server:
    """One server under load: its name, its address and its process."""

    name: str
    url: str
    process: int
    content_type: str
    body: Path


@dataclass(frozen=True)
class Measured:
    """What one load showed.

    Attributes:
        rate: Requests a second that were answered with success.
        refused: The share of the others.
        median: The median of latency in milliseconds.
        slowest: Its 99th percentile, likewise.
        cpu: Milliseconds of processor time a request.
        idle: Share of the processors that was left.
    """

    rate: float
    refused: float
    median: float
    slowest: float
    cpu: float
    idle: float


def load(server: Server, connections: int, seconds: int, folder: Path) -> Measured:
    """Loads a server for some seconds.

    Args:
        server: The server.
        connections: How many ask it at once, each the next thing when it has its answer.
        seconds: For how long.
        folder: Where wrk's script may be written.
    """
    script = folder / "load.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = io.open("{server.body}", "rb"):read("*a")\n'
        f'wrk.headers["Content-Type"] = "{server.content_type}"\n'
    )
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "--timeout",
        "30s",
        "-s",
        str(script),
        server.url,
    ]
    used, (idle, total) = _used(server.process), _idle()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    spent, (idle_after, total_after) = _used(server.process) - used, _idle()
    requests = int(_found(r"(\d+) requests in", output))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    answered = requests - (int(refused.group(1)) if refused else 0)
    if "Socket errors" in output or not answered:
        raise SystemExit(f"{server.name} failed under load:\n{output}")
    return Measured(
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", output)) * answered / requests,
        refused=1 - answered / requests,
        median=milliseconds(_found(r"^\s+50%\s+(\S+)", output)),
        slowest=milliseconds(_found(r"^\s+99%\s+(\S+)", output)),
        cpu=spent / requests * 1000,
        idle=(idle_after - idle) / (total_after - total),
    )


def milliseconds(text: str) -> float:
    """A time as wrk prints it: `870.00us`, `1.23ms`, `1.02s`."""
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if found is None:
        raise ValueError(f"{text!r} is no time as wrk prints it")
    return float(found[1]) * MILLISECONDS[found[2]]


def _used(process: int) -> float:
    """Seconds of processor time that a process and its living descendants have used; from proc(5)."""
    fields: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            fields[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
    family = {process}
    while more := {number for number, values in fields.items() if int(values[1]) in family} - family:
        family |= more
    ticks = sum(int(fields[member][11]) + int(fields[member][12]) for member in family)
    return ticks / os.sysconf("SC_CLK_TCK")


def _idle() -> tuple[int, int]:
    numbers = [int(number) for number in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return numbers[3], sum(numbers)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise SystemExit(f"wrk printed no {pattern!r}:\n{text}")
    return match.group(1)
