"""Serving over HTTP: the gateway in turns with its peers, loaded by wrk with a PNG body.

`python -m benchmarks.serving [--seconds 5] [--rounds 3] [--model model.onnx] [--only NAME]`; needs wrk (Debian's
package of that name), and a package index the first time, for the environments of mosec and BentoML. All serve a
network of the tutorial's shape with the same weights: tandem in the form of its exports, the peers in that of Keras'
own export, whose response normalisation is slower; with `--same-file` they serve tandem's. Each round measures every
server at 1, 16 and 64 connections, one right after the other; what counts is the ratio within a round. `idle` says
how much of the processors was left, and `cpu` how many milliseconds of processor time a request took in the server
with its children, which also compares where other programs disturb.
"""

import argparse
import importlib.metadata
import io
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.serving_model import tutorial_network
from benchmarks.serving_peers import PEERS, Peer, start
from shared.atomic import committing
from shared.layout import Volume
from shared.records import ExportManifest, FileRecord, encode_record, write_record
from shared.spec import RunSpec

CONNECTIONS = (1, 16, 64)
RUN = "20260101-000000-serving-0001"
START_SECONDS = 60.0
SIDE = 32


@dataclass(frozen=True)
class Server:
    """One server under load: its name, its address and its process."""

    name: str
    url: str
    process: int
    content_type: str
    body: Path


@dataclass(frozen=True)
class Figure:
    """What one load showed.

    Attributes:
        rate: Requests a second that were answered with success.
        refused: The share of the others.
        slowest: The 99th percentile of latency, as wrk prints it.
        cpu: Milliseconds of processor time a request.
        idle: Share of the processors that was left.
    """

    rate: float
    refused: float
    slowest: str
    cpu: float
    idle: float


def main() -> int:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", help="of the peers those whose names begin so; may be repeated")
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--same-file", action="store_true", help="the peers serve the very file that tandem serves")
    parser.add_argument("--model", type=Path, help="a model.onnx that takes uint8 [n, 32, 32, 3] and answers 10 logits")
    flags = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed; on Debian: apt-get install wrk", file=sys.stderr)
        return 2
    model = flags.model.read_bytes() if flags.model else tutorial_network()
    theirs = model if flags.model or flags.same_file else tutorial_network(banded=False)
    print(_machine())
    with tempfile.TemporaryDirectory(prefix="tandem-serving-") as name, ExitStack() as running:
        folder = Path(name)
        peers = [peer for peer in PEERS if not flags.only or peer.name.lower().startswith(tuple(flags.only))]
        servers = _start(folder, model, theirs, peers, running.enter_context)
        figures: dict[tuple[str, int], list[Figure]] = {}
        for number in range(flags.rounds):
            for connections in flags.connections:
                for server in servers:
                    figure = _load(server, connections, flags.seconds, folder)
                    figures.setdefault((server.name, connections), []).append(figure)
                    print(
                        f"round {number + 1}  {connections:>2} connections  {server.name:<22} {figure.rate:7.0f}/s  "
                        f"p99 {figure.slowest:>9}  cpu {figure.cpu:.3f} ms  idle {figure.idle:.0%}"
                        f"{f'  refused {figure.refused:.0%}' if figure.refused else ''}"
                    )
        _summary(figures, [server.name for server in servers], flags.connections)
    return 0


def _start(folder: Path, model: bytes, theirs: bytes, peers: list[Peer], enter: Callable[..., int]) -> list[Server]:
    volume = folder / "volume"
    _export(Volume(volume), model)
    path = folder / "model.onnx"
    path.write_bytes(theirs)
    picture, raw = folder / "picture.png", folder / "picture.raw"
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    picture.write_bytes(buffer.getvalue())
    raw.write_bytes(pixels.tobytes())
    port = _free_port()
    url = f"http://127.0.0.1:{port}/v1/models/best:classify"
    command = [sys.executable, "-m", "services.gateway", "--volume", str(volume), "--port", str(port)]
    ours = enter(_running(lambda: subprocess.Popen(command, stdout=subprocess.DEVNULL), url, picture))
    servers = [
        Server("tandem", url, ours, "image/png", picture),
        Server("tandem, raw uint8", url, ours, "application/octet-stream", raw),
    ]
    for peer in peers:
        peer_port = _free_port()
        peer_url = f"http://127.0.0.1:{peer_port}{peer.path}"
        process = enter(_running(partial(start, peer, model=path, port=peer_port), peer_url, picture))
        servers.append(Server(peer.name, peer_url, process, "image/png", picture))
    return servers


def _export(volume: Volume, model: bytes) -> None:
    run = volume.run(RUN)
    write_record(run.spec, RunSpec(name="serving"))
    with committing(run.export(1)) as folder:
        digest = folder.write("model.onnx", model)
        manifest = ExportManifest(
            run=RUN,
            step=1,
            weights="ema",
            decay=0.9999,
            files={"model.onnx": FileRecord(size=digest.size, sha256=digest.sha256)},
            input_shape=(SIDE, SIDE, 3),
            classes=tuple(str(number) for number in range(10)),
            precision_at_1=0.1,
            greatest_difference=0.0,
            time=time.time(),
        )
        folder.write("manifest.json", encode_record(manifest))


@contextmanager
def _running(begin: Callable[[], "subprocess.Popen[bytes]"], url: str, picture: Path) -> Iterator[int]:
    """The id of a process that `begin` starts, once it answers; it is stopped in order afterwards."""
    process = begin()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url, picture):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"nobody answers at {url}")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _answers(url: str, picture: Path) -> bool:
    request = urllib.request.Request(url, picture.read_bytes(), {"Content-Type": "image/png"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _load(server: Server, connections: int, seconds: int, folder: Path) -> Figure:
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
    return Figure(
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", output)) * answered / requests,
        refused=1 - answered / requests,
        slowest=_found(r"99%\s+(\S+)", output),
        cpu=spent / requests * 1000,
        idle=(idle_after - idle) / (total_after - total),
    )


def _summary(figures: dict[tuple[str, int], list[Figure]], names: list[str], all_connections: Sequence[int]) -> None:
    ours = names[0]
    for connections in all_connections:
        mine = figures[ours, connections]
        for name in names[1:]:
            theirs = figures[name, connections]
            ratios = [a.rate / b.rate for a, b in zip(mine, theirs, strict=True)]
            cpu = statistics.median(b.cpu / a.cpu for a, b in zip(mine, theirs, strict=True))
            print(
                f"{connections:>2} connections  {ours} / {name}: requests {statistics.median(ratios):.2f} "
                f"({', '.join(f'{ratio:.2f}' for ratio in ratios)}), processor time 1/{cpu:.2f}"
            )


def _machine() -> str:
    versions = {name: importlib.metadata.version(name) for name in ("fastapi", "uvicorn", "pillow", "numpy")}
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Python {platform.python_version()}, ONNX Runtime {onnxruntime.__version__}, {text}; "
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
    )


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
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk printed no {pattern!r}:\n{text}")
    return match.group(1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
