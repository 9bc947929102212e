"""Serving over HTTP: the gateway in turns with its peers, loaded by wrk with a PNG body.

`python -m benchmarks.serving [--seconds 5] [--rounds 3] [--model model.onnx]`; needs wrk (Debian's package of that
name). Both serve the same model file: by default one of the tutorial network's shape. Each round measures every server
at 1, 16 and 64 connections, one right after the other; what counts is the ratio within a round. `idle` says how much of
the processors was left, and `cpu` how many milliseconds of processor time a request took in the server, which also
compares where other programs disturb.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.serving_model import tutorial_network
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
    """What one load showed: requests a second, the 99th percentile in ms, CPU ms a request, idle share of the CPUs."""

    rate: float
    slowest: str
    cpu: float
    idle: float


def main() -> int:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, help="a model.onnx that takes uint8 [n, 32, 32, 3] and answers 10 logits")
    flags = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed; on Debian: apt-get install wrk", file=sys.stderr)
        return 2
    model = flags.model.read_bytes() if flags.model else tutorial_network()
    print(_machine())
    with tempfile.TemporaryDirectory(prefix="tandem-serving-") as name, ExitStack() as running:
        folder = Path(name)
        servers = _start(folder, model, running.enter_context)
        figures: dict[tuple[str, int], list[Figure]] = {}
        for number in range(flags.rounds):
            for connections in CONNECTIONS:
                for server in servers:
                    figure = _load(server, connections, flags.seconds, folder)
                    figures.setdefault((server.name, connections), []).append(figure)
                    print(
                        f"round {number + 1}  {connections:>2} connections  {server.name:<22} {figure.rate:7.0f}/s  "
                        f"p99 {figure.slowest:>9}  cpu {figure.cpu:.3f} ms  idle {figure.idle:.0%}"
                    )
        _summary(figures, [server.name for server in servers])
    return 0


def _start(folder: Path, model: bytes, enter: Callable[..., int]) -> list[Server]:
    volume = folder / "volume"
    path = _export(Volume(volume), model)
    picture, raw = folder / "picture.png", folder / "picture.raw"
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    picture.write_bytes(buffer.getvalue())
    raw.write_bytes(pixels.tobytes())
    port, peer_port = _free_port(), _free_port()
    url, peer_url = f"http://127.0.0.1:{port}/v1/models/best:classify", f"http://127.0.0.1:{peer_port}/classify"
    gateway = ["services.gateway", "--volume", str(volume), "--port", str(port)]
    gateway_process = enter(_running(gateway, url, picture))
    peer_process = enter(_running(["benchmarks.serving_peer", str(path), str(peer_port)], peer_url, picture))
    return [
        Server("tandem", url, gateway_process, "image/png", picture),
        Server("FastAPI + ONNX Runtime", peer_url, peer_process, "image/png", picture),
        Server("tandem, raw uint8", url, gateway_process, "application/octet-stream", raw),
    ]


def _export(volume: Volume, model: bytes) -> Path:
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
    return run.export(1) / "model.onnx"


@contextmanager
def _running(module: list[str], url: str, picture: Path) -> Iterator[int]:
    """The id of a process of `python -m module`, once it answers; it is stopped in order afterwards."""
    process = subprocess.Popen([sys.executable, "-m", *module], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url, picture):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{module[0]} does not answer at {url}")
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
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"{server.name} failed under load:\n{output}")
    requests = int(_found(r"(\d+) requests in", output))
    return Figure(
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", output)),
        slowest=_found(r"99%\s+(\S+)", output),
        cpu=spent / requests * 1000,
        idle=(idle_after - idle) / (total_after - total),
    )


def _summary(figures: dict[tuple[str, int], list[Figure]], names: list[str]) -> None:
    ours = names[0]
    for connections in CONNECTIONS:
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
    """Seconds of processor time that a process has used; from proc(5)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
