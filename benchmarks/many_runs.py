"""How the gateway bears a volume with thousands of finished runs: until it is ready, its memory, and its answers.

    python -m benchmarks.many_runs --runs 10000 [--volume FOLDER]

Makes the volume (unless the folder has one already), starts `python -m services.gateway` on it twice, and asks it by
HTTP once it has looked at every run: first it reads them all, then it has what the first one put down.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.report import Report, add_output
from shared.layout import RunFolder, Volume
from shared.records import (
    CheckpointManifest,
    ClassFigures,
    Desired,
    Event,
    ExportManifest,
    SeriesPoint,
    TrainerStatus,
    Verdict,
    encode_record,
)
from shared.spec import RunSpec, parse_spec

READY_SECONDS = 3.0
ANSWER_SECONDS = 0.05
RESIDENT_BYTES = 300 * 2**20
CLASSES = tuple(f"class {number}" for number in range(10))


@dataclass(frozen=True)
class Measured:
    """Seconds until the gateway was ready and had looked at every run, its greatest bytes, seconds of each answer."""

    ready: float
    read: float
    resident: int
    answers: dict[str, list[float]]


def main() -> int:
    """Runs the benchmark. Returns 1 if a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--volume", type=Path)
    parser.add_argument("--asks", type=int, default=100, help="requests of each kind")
    add_output(parser)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, Report("many_runs", given.output) as figures:
        volume = Volume(given.volume or Path(temporary) / "volume")
        began = time.perf_counter()
        for number in range(given.runs):
            make_run(volume, number)
        print(f"{given.runs} finished runs made in {time.perf_counter() - began:.0f} s")
        kept = []
        for start in ("the first start", "a later start"):
            measured = measure(volume, given.asks)
            kept.append(report(measured))
            note(figures, measured, start)
    return 0 if all(kept) else 1


def make_run(volume: Volume, number: int) -> None:
    """Writes a run as it lies on the volume once it is completed and judged; passes over one that is there."""
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(1_700_000_000 + 600 * number))
    spec = parse_spec(
        {
            "name": f"sweep-{number % 7}",
            "seed": number,
            "steps": 300,
            "labels": {"sweep": str(number // 100), "part": str(number % 10)},
            "dataset": {"kind": "shapes"},
        },
        source="benchmark",
    )
    folder = volume.run(f"{moment}-{spec.name}-{number:04x}"[:80])
    if folder.spec.exists():
        return
    for each in (folder.trainer, folder.gateway_events.parent):
        each.mkdir(parents=True)
    folder.desired.write_bytes(encode_record(Desired(generation=0, state="running", time=0.0)))
    folder.status.write_bytes(encode_record(_status(folder, spec)))
    with folder.series.open("wb") as series:
        series.writelines(_point(step).model_dump_json().encode() + b"\n" for step in range(10, 301, 10))
    with folder.gateway_events.open("wb") as events:
        events.writelines(event.model_dump_json().encode() + b"\n" for event in _events())
    for step in (100, 200, 300):
        _judge(folder, step, precision=0.5 + (number % 400) / 1000)
    manifest = CheckpointManifest(
        run=folder.id, step=300, fence=1, weights=("raw", "ema-0.9999"), files={}, spec_sha256="0" * 64, time=0.0
    )
    folder.checkpoint(300).mkdir(parents=True)
    (folder.checkpoint(300) / "manifest.json").write_bytes(encode_record(manifest))
    _export(folder, 300, precision=0.5 + (number % 400) / 1000)
    folder.spec.write_bytes(encode_record(spec))


def measure(volume: Volume, asks: int) -> Measured:
    """Starts a gateway on the volume and asks it."""
    began = time.perf_counter()
    with gateway(volume) as (url, process), httpx.Client(base_url=url, timeout=60) as http:
        while http.get("/readyz").status_code != httpx.codes.OK:
            time.sleep(0.02)
        ready = time.perf_counter() - began
        while http.get("/v1/runs", params={"limit": 1}).json()["unread"]:
            time.sleep(0.2)
        read = time.perf_counter() - began
        runs = [each["id"] for each in http.get("/v1/runs", params={"limit": 1000}).json()["runs"]]
        requests: dict[str, Callable[[int], str]] = {
            "list": lambda ask: "/v1/runs",
            "filter": lambda ask: f"/v1/runs?state=completed&label=part={ask % 10}&name=sweep-{ask % 7}",
            "filter, none fits": lambda ask: "/v1/runs?state=failed",
            "show": lambda ask: f"/v1/runs/{runs[ask * 37 % len(runs)]}",
        }
        answers = {name: [_asked(http, path(ask)) for ask in range(asks)] for name, path in requests.items()}
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return Measured(ready=ready, read=read, resident=1024 * int(found.group(1)) if found else 0, answers=answers)


def note(figures: Report, measured: Measured, start: str) -> None:
    """Adds what was measured to the benchmark's figures."""
    figures.add(f"{start}: ready", measured.ready, "s", at_most=READY_SECONDS)
    figures.add("… every run looked at", measured.read, "s")
    figures.add("… greatest memory", measured.resident / 2**20, "MiB", at_most=RESIDENT_BYTES / 2**20)
    for kind, seconds in measured.answers.items():
        slowest = statistics.quantiles(seconds, n=20)[-1]
        figures.add(f"… {kind}, 95% within", 1e3 * slowest, "ms", at_most=1e3 * ANSWER_SECONDS)


def report(measured: Measured) -> bool:
    """Prints what was measured. Returns whether the limits are kept."""
    slowest = {kind: statistics.quantiles(seconds, n=20)[-1] for kind, seconds in measured.answers.items()}
    print(
        f"ready after {measured.ready:.2f} s, every run looked at after {measured.read:.2f} s,"
        f" at most {measured.resident / 2**20:.0f} MiB resident"
    )
    for kind, seconds in measured.answers.items():
        print(f"  {kind}: median {statistics.median(seconds) * 1e3:.1f} ms, p95 {slowest[kind] * 1e3:.1f} ms")
    return (
        measured.ready <= READY_SECONDS
        and measured.resident <= RESIDENT_BYTES
        and all(seconds <= ANSWER_SECONDS for seconds in slowest.values())
    )


@contextmanager
def gateway(volume: Volume) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A gateway without slots on a free port: its address and its process."""
    command = [sys.executable, "-m", "services.gateway", "--volume", str(volume.root), "--port", "0", "--slots", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        found = re.search(r"(http://\S+)/docs", process.stdout.readline() if process.stdout else "")
        if found is None:
            raise RuntimeError("the gateway did not say where it answers")
        yield found.group(1), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def _asked(http: httpx.Client, path: str) -> float:
    before = time.perf_counter()
    http.get(path).raise_for_status()
    return time.perf_counter() - before


def _status(folder: RunFolder, spec: RunSpec) -> TrainerStatus:
    return TrainerStatus(
        run=folder.id,
        slot="slot-0",
        phase="completed",
        step=spec.steps,
        steps=spec.steps,
        checkpoint_step=spec.steps,
        loss=0.5,
        beat=100,
        time=600.0,
        started=0.0,
        fence=1,
        generation_seen=0,
        pid=1,
        host="benchmark",
        versions={"tandem": "0"},
        numerics={"device": "cpu"},
    )


def _point(step: int) -> SeriesPoint:
    return SeriesPoint(
        step=step,
        time=float(step),
        loss=2.0 / step,
        cross_entropy=2.0 / step,
        average_loss=2.0 / step,
        learning_rate=0.1,
        examples_per_second=1000.0,
    )


def _events() -> Iterator[Event]:
    ended = {"slot": "slot-0", "fence": 1, "exit_code": 0, "phase": "completed", "outcome": "completed"}
    for kind, details in (
        ("created", {"recipe": "shapes"}),
        ("assigned", {"slot": "slot-0", "fence": 1}),
        ("spawned", {"slot": "slot-0", "fence": 1, "pid": 1}),
        ("state", {"from": None, "to": "starting"}),
        ("state", {"from": "starting", "to": "running"}),
        ("ended", {**ended, "checkpoint_step": 300, "seconds": 600.0}),
        ("state", {"from": "running", "to": "completed"}),
    ):
        yield Event(time=0.0, service="gateway", kind=kind, message="as it was", details=details)


def _judge(folder: RunFolder, step: int, *, precision: float) -> None:
    for kind in ("raw", "ema-0.9999"):
        decay = None if kind == "raw" else 0.9999
        figures = tuple(
            ClassFigures(name=name, examples=200, precision=precision, recall=precision, f1=precision)
            for name in CLASSES
        )
        verdict = Verdict(
            run=folder.id,
            step=step,
            weights="raw" if decay is None else "ema",
            decay=decay,
            examples=2_000,
            precision_at_1=precision,
            interval=(precision - 0.01, precision + 0.01),
            precision_at_k=0.9,
            loss=1.0,
            confusion=tuple((20,) * len(CLASSES) for _ in CLASSES),
            classes=figures,
            time=0.0,
        )
        path = folder.verdict(step, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_record(verdict))


def _export(folder: RunFolder, step: int, *, precision: float) -> None:
    """The manifest of an export; the model itself is never opened, but for the newest run, of which it is missed."""
    manifest = ExportManifest(
        run=folder.id,
        step=step,
        weights="ema",
        decay=0.9999,
        files={},
        input_shape=(32, 32, 3),
        classes=CLASSES,
        precision_at_1=precision,
        greatest_difference=0.0,
        time=0.0,
    )
    folder.export(step).mkdir(parents=True)
    (folder.export(step) / "manifest.json").write_bytes(encode_record(manifest))


if __name__ == "__main__":
    sys.exit(main())
