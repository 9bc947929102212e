"""How soon after a commit its evaluation begins: `python -m benchmarks.following`.

A real trainer trains a small network on a temporary volume and commits a checkpoint every 0.7 seconds; a real evaluator
with its default settings judges and exports each of them beside it. Before that it judges one checkpoint of
another run, so that its network is built. Commits count from the time in their manifest, which is taken before a byte
is written; evaluations from the verdict on raw weights, the first, less what judging took, so reading the weights and
comparing the answers is in the delay. Beside it stands what the evaluator's own histogram
(`tandem_evaluation_start_seconds`) says. Where an evaluation takes longer than the trainer from commit to commit, on a
busy machine, checkpoints queue, and the delay is that of the queue: the last figure tells.
"""

import argparse
import signal
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.processes import program, until
from benchmarks.report import Report, add_output
from benchmarks.soak.processes import listening_port
from shared.layout import MANIFEST, RunFolder, Volume, listed_steps
from shared.records import CheckpointManifest, EvaluatorStatus, Verdict, read_record, read_record_or_none, write_record
from shared.spec import RunSpec, parse_spec

FIRST, FOLLOWED = "20260101-000000-first-0000", "20260101-000001-followed-0000"
LIMIT = 1.0
HISTOGRAM = "tandem_evaluation_start_seconds"

SMALL: dict[str, Any] = {
    "name": "followed",
    "batch_size": 16,
    "dataset": {"kind": "shapes", "train_examples": 1_000, "test_examples": 200},
    "augment": {"crop": 8},
    "learning_rate": {"kind": "constant", "rate": 0.01},
    # All of them stay: their manifests say when they were committed.
    "retention": {"latest": 1_000_000},
}


def delays(folder: RunFolder) -> list[float]:
    """Seconds from each commit of a run to the start of its evaluation, at most, in the order of steps."""
    found = []
    for step in listed_steps(folder.checkpoints):
        manifest = read_record(folder.checkpoint(step) / MANIFEST, CheckpointManifest)
        verdict = read_record(folder.verdict(step, "raw"), Verdict)
        found.append(verdict.time - verdict.seconds - manifest.time)
    return found


def durations(folder: RunFolder, spec: RunSpec) -> list[float]:
    """Seconds of each evaluation: from the start of judging raw weights to the verdict on the primary average."""
    found = []
    for step in listed_steps(folder.checkpoints):
        first, last = (read_record(folder.verdict(step, kind), Verdict) for kind in ("raw", spec.primary_ema))
        found.append(last.time - first.time + first.seconds)
    return found


def counted(metrics: str, *, within: float) -> tuple[int, int]:
    """How many evaluations the evaluator's histogram counts as begun within so many seconds, and in all.

    Args:
        metrics: What the evaluator answers at /metrics.
        within: A bound of one of its buckets.
    """
    samples = [
        sample
        for family in text_string_to_metric_families(metrics)
        if family.name == HISTOGRAM
        for sample in family.samples
        if sample.name == f"{HISTOGRAM}_bucket"
    ]
    by_bound = {float(sample.labels["le"]): int(sample.value) for sample in samples}
    return by_bound[within], by_bound[float("inf")]


def measure(volume: Volume, *, checkpoints: int, seconds: float) -> tuple[RunFolder, str]:
    """Lets trainer and evaluator work until so many checkpoints are judged.

    Args:
        volume: Where; nothing is on it yet.
        checkpoints: How many, at least.
        seconds: Between two of them.

    Returns:
        The run, and the evaluator's metrics at the end.

    Raises:
        RuntimeError: A process ended, or something never came.
    """
    first, followed = volume.run(FIRST), volume.run(FOLLOWED)
    once = _spec(steps=50, cadence={"checkpoint_steps": 50, "summary_steps": None})
    write_record(first.spec, once)
    cadence = {"checkpoint_steps": 10**9, "checkpoint_seconds": seconds, "summary_steps": None}
    write_record(followed.spec, _spec(steps=10**9, cadence=cadence))
    at = ("--volume", str(volume.root))
    with program("services.evaluator", *at, TANDEM_EVALUATOR_METRICS_PORT="0") as evaluator:
        status = volume.evaluator("evaluator") / "status.json"
        until(lambda: read_record_or_none(status, EvaluatorStatus), "the evaluator")
        with program("services.trainer", *at, "--run", FIRST) as trainer:
            if trainer.wait():
                raise RuntimeError(f"the trainer ended with {trainer.returncode}")
        until(lambda: _judged(first, once), "the first verdict")
        with program("services.trainer", *at, "--run", FOLLOWED) as trainer:
            within = 60 + 3 * checkpoints * seconds
            until(lambda: _committed(followed, checkpoints, trainer), f"checkpoint {checkpoints}", within=within)
            trainer.send_signal(signal.SIGTERM)
            trainer.wait()
        until(lambda: _judged(followed, once), "the last verdict")
        port = until(lambda: listening_port(evaluator.pid), "the evaluator's port")
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
        answer.raise_for_status()
    return followed, answer.text


def add_figures(report: Report, found: list[float], took: list[float], counts: tuple[int, int]) -> None:
    """Half and 99% of the delays, with the goal, and what the evaluator itself counted."""
    cuts = statistics.quantiles(found, n=100, method="inclusive")
    report.add(f"from a commit to its evaluation, median of {len(found)}", cuts[49], "s")
    report.add("… 99% within", cuts[98], "s", at_most=LIMIT)
    report.add("… the slowest", max(found), "s")
    report.add(f"by the evaluator's own count, begun within {LIMIT:g} s", 100 * counts[0] / counts[1], "%", at_least=99)
    report.add("an evaluation of raw and averaged weights, with the export, median", statistics.median(took), "s")
    report.details["delays"] = found


def _spec(**values: Any) -> RunSpec:
    return parse_spec({**SMALL, **values}, source="benchmarks.following")


def _judged(folder: RunFolder, spec: RunSpec) -> bool | None:
    steps = listed_steps(folder.checkpoints)
    return all(folder.verdict(step, kind).exists() for step in steps for kind in spec.weights_kinds) or None


def _committed(folder: RunFolder, checkpoints: int, trainer: subprocess.Popen[bytes]) -> bool | None:
    if trainer.poll() is not None:
        raise RuntimeError(f"the trainer ended with {trainer.returncode}")
    return len(listed_steps(folder.checkpoints)) >= checkpoints or None


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.following")
    parser.add_argument("--checkpoints", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.7, help="between two of them")
    add_output(parser)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="following-") as root, Report("following", given.output) as report:
        folder, metrics = measure(Volume(Path(root)), checkpoints=given.checkpoints, seconds=given.seconds)
        add_figures(report, delays(folder), durations(folder, _spec()), counted(metrics, within=LIMIT))
    for figure in report.figures:
        print(f"{figure.name}: {figure.value:.3g} {figure.unit}")


if __name__ == "__main__":
    main()
