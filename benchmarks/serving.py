"""Serving over HTTP: the gateway in turns with its peers, loaded by wrk with a PNG body.

    python -m benchmarks.serving [--seconds 5] [--rounds 3] [--model model.onnx] [--only NAME] [--output FILE]

Needs wrk (Debian's package of that name), and a package index the first time, for the environments of mosec and
BentoML. All serve a network of the tutorial's shape with the same weights: tandem in the form of its exports, the peers
in that of Keras' own export, whose response normalisation is slower; with `--same-file` they serve tandem's. Each round
measures every server at 1, 16 and 64 connections, one right after the other; what counts is the ratio within a round.
`idle` says how much of the processors was left, and `cpu` how many milliseconds of processor time a request took in the
server with its children, which also compares where other programs disturb.
"""

import argparse
import importlib.metadata
import io
import os
import platform
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
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import Report, add_output
from benchmarks.serving_model import tutorial_network
from benchmarks.serving_peers import PEERS, Peer, start
from benchmarks.wrk import Measured, Server, load
from shared.atomic import committing
from shared.layout import Volume
from shared.onnx_runtime import onnxruntime
from shared.records import ExportManifest, FileRecord, encode_record, write_record
from shared.spec import RunSpec

CONNECTIONS = (1, 16, 64)
RUN = "20260101-000000-serving-0001"
START_SECONDS = 60.0
SIDE = 32
RATES = {1: 1.2, 16: 1.5, 64: 1.5}
"""The goals: times the rate of the best peer, by connections."""
REFUSED = 0.01
"""Who refuses more of the requests has no 99th percentile to compare with: a refusal is soon said."""

Figures = dict[tuple[str, int], list[Measured]]
"""By the server's name and the number of connections, one of each round."""


def main() -> int:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", help="of the peers those whose names begin so; may be repeated")
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--same-file", action="store_true", help="the peers serve the very file that tandem serves")
    parser.add_argument("--model", type=Path, help="a model.onnx that takes uint8 [n, 32, 32, 3] and answers 10 logits")
    add_output(parser)
    flags = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed; on Debian: apt-get install wrk", file=sys.stderr)
        return 2
    model = flags.model.read_bytes() if flags.model else tutorial_network()
    theirs = model if flags.model or flags.same_file else tutorial_network(banded=False)
    print(_machine())
    with (
        Report("serving", flags.output) as report,
        tempfile.TemporaryDirectory(prefix="tandem-serving-") as name,
        ExitStack() as running,
    ):
        folder = Path(name)
        peers = [peer for peer in PEERS if not flags.only or peer.name.lower().startswith(tuple(flags.only))]
        servers = _start(folder, model, theirs, peers, running.enter_context)
        figures: Figures = {}
        for number in range(flags.rounds):
            for connections in flags.connections:
                for server in servers:
                    figure = load(server, connections, flags.seconds, folder)
                    figures.setdefault((server.name, connections), []).append(figure)
                    print(
                        f"round {number + 1}  {connections:>2} connections  {server.name:<22} {figure.rate:7.0f}/s  "
                        f"p50 {figure.median:6.2f} ms  p99 {figure.slowest:6.2f} ms  cpu {figure.cpu:.3f} ms  "
                        f"idle {figure.idle:.0%}"
                        f"{f'  refused {figure.refused:.0%}' if figure.refused else ''}"
                    )
        _summary(figures, [server.name for server in servers], flags.connections)
        add_figures(report, figures, [server.name for server in servers], flags.connections)
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
        with urllib.request.urlopen(request, timeout=5) as answer:  # nosec B310 # a server that it has just started
            return bool(answer.status == 200)
    except OSError:
        return False


def _summary(figures: Figures, names: list[str], all_connections: Sequence[int]) -> None:
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


def add_figures(report: Report, figures: Figures, names: Sequence[str], all_connections: Sequence[int]) -> None:
    """Puts the figures into the report: medians of the rounds, and goals for ratios within a round.

    Args:
        report: What they are added to.
        figures: By server and connections, one of each round.
        names: Tandem, tandem with raw bodies, then the peers.
        all_connections: At how many connections it was measured.
    """
    ours, raw, *peers = names
    report.details["rounds"] = {
        f"{name}, {at}": [asdict(each) for each in rounds] for (name, at), rounds in figures.items()
    }
    for connections in all_connections:
        for name in names:
            rounds = figures[name, connections]
            at = f"{connections} connection{'s' if connections > 1 else ''}"
            report.add(f"{name}, {at}", statistics.median(each.rate for each in rounds), "requests/s")
            report.add("… median of latency", statistics.median(each.median for each in rounds), "ms")
            report.add("… 99th percentile of latency", statistics.median(each.slowest for each in rounds), "ms")
            if refused := statistics.median(each.refused for each in rounds):
                report.add("… refused", 100 * refused, "%")
        mine = figures[ours, connections]
        theirs = list(zip(*(figures[peer, connections] for peer in peers), strict=True))
        raws = statistics.median(a.rate / b.rate for a, b in zip(figures[raw, connections], mine, strict=True))
        if theirs:
            rates = [a.rate / max(b.rate for b in others) for a, others in zip(mine, theirs, strict=True)]
            goal = RATES.get(connections)
            report.add(f"tandem at {at}: times the rate of the best peer", statistics.median(rates), "", at_least=goal)
        slowest = [
            a.slowest / min(answering)
            for a, others in zip(mine, theirs, strict=False)
            if (answering := [b.slowest for b in others if b.refused <= REFUSED])
        ]
        if slowest:
            name = f"tandem at {at}: 99th percentile, times the least of the peers that answer all"
            report.add(name, statistics.median(slowest), "", at_most=1.0)
        report.add(f"tandem at {at}: raw uint8, times the rate of PNGs", raws, "", at_least=1.3)


def _machine() -> str:
    versions = {name: importlib.metadata.version(name) for name in ("fastapi", "uvicorn", "pillow", "numpy")}
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Python {platform.python_version()}, ONNX Runtime {onnxruntime.__version__}, {text}; "
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
