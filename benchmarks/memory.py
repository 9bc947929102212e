"""Whether memory stays flat over a long run: `python -m benchmarks.memory`.

A real trainer makes 20,000 fast steps of a tiny network, with a checkpoint every 250, which a real evaluator judges as
they come. The resident memory of both is noted each half second; what counts is how it grows after the first quarter,
when everything that is kept has been made: as a straight line through the rest, in MiB per 10,000 steps. `--plot`
writes a picture.
"""

import argparse
import contextlib
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.processes import program
from benchmarks.report import Report, add_output
from services.cli.plots.lines import Points, svg_lines
from shared.layout import RunFolder, Volume, listed_steps
from shared.records import TrainerStatus, read_record_or_none, write_record
from shared.spec import RunSpec, parse_spec

RUN = "20260101-000000-memory-0001"
SECONDS = 0.5
WARMING_UP = 0.25

TINY = {
    "name": "memory",
    "batch_size": 4,
    "dataset": {"kind": "shapes", "train_examples": 1_000, "test_examples": 200},
    "augment": {"crop": 8},
    "model": {"name": "resnet-small", "options": {"width": 4}},
    "learning_rate": {"kind": "constant", "rate": 0.01},
    "ema": {"decays": [0.9999, 0.99]},
    "cadence": {"log_steps": 10, "checkpoint_steps": 250},
}


@dataclass
class Samples:
    """Resident memory of one process in MiB, by the trainer's step at that moment."""

    points: list[tuple[float, float]] = field(default_factory=list)

    def note(self, pid: int, step: int) -> None:
        """Adds a sample, if the process is still there."""
        with contextlib.suppress(OSError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            self.points.append((step, pages * os.sysconf("SC_PAGE_SIZE") / 2**20))

    def growth(self, steps: int) -> float:
        """MiB per 10,000 steps, after the first quarter."""
        late = np.array([point for point in self.points if point[0] >= WARMING_UP * steps])
        slope, _ = np.polyfit(late[:, 0], late[:, 1], 1)
        return float(slope * 10_000)

    def describe(self, steps: int) -> str:
        """Figures in words."""
        late = [value for step, value in self.points if step >= WARMING_UP * steps]
        return (
            f"from {late[0]:.0f} to {late[-1]:.0f} MiB, greatest {max(late):.0f} MiB, "
            f"a line through them grows by {self.growth(steps):+.2f} MiB per 10,000 steps"
        )


def watch(folder: RunFolder, spec: RunSpec, trainer: subprocess.Popen[bytes], evaluator: int) -> dict[str, Samples]:
    """Notes memory until the trainer has ended and its last checkpoint is judged."""
    samples = {"trainer": Samples(), "evaluator": Samples()}
    while trainer.poll() is None or spec.steps not in listed_steps(folder.evaluations):
        status = read_record_or_none(folder.status, TrainerStatus)
        if status is not None and status.phase == "running":
            samples["trainer"].note(trainer.pid, status.step)
        judged = max(listed_steps(folder.evaluations), default=None)
        if judged is not None:
            samples["evaluator"].note(evaluator, judged)
        if trainer.poll():
            raise SystemExit(f"the trainer ended with {trainer.returncode}")
        time.sleep(SECONDS)
    return samples


def main() -> None:
    """Measures, prints, and draws."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--steps", type=int, default=20_000)
    add_output(parser)
    parser.add_argument("--plot", type=Path, help="an SVG file to write")
    given = parser.parse_args()
    spec = parse_spec({**TINY, "steps": given.steps}, source="benchmarks.memory")
    with tempfile.TemporaryDirectory() as root, Report("memory", given.output) as report:
        volume = Volume(Path(root))
        folder = volume.run(RUN)
        write_record(folder.spec, spec)
        at = ("--volume", root)
        began = time.monotonic()
        with program("services.trainer", *at, "--run", RUN) as trainer, program("services.evaluator", *at) as evaluator:
            samples = watch(folder, spec, trainer, evaluator.pid)
        seconds = time.monotonic() - began
        bytes_of = {path.name: path.stat().st_size for path in folder.root.rglob("*.jsonl")}
        evaluations = len(listed_steps(folder.evaluations))
        for name, found in samples.items():
            report.add(f"memory that a {name} gains in 10,000 steps", found.growth(spec.steps), "MiB", at_most=1)
    print(f"{spec.steps:,} steps and {evaluations} evaluations in {seconds:.0f} s")
    curves: dict[str, Points] = {}
    for name, found in samples.items():
        print(f"{name}: after the first quarter {found.describe(spec.steps)}")
        curves[name] = found.points
    print(f"bytes written line by line: {bytes_of}; {describe()}")
    if given.plot is not None:
        title = f"resident memory in MiB over {spec.steps:,} steps"
        given.plot.write_text(svg_lines(curves, title=title, from_zero=True), encoding="utf-8")


if __name__ == "__main__":
    main()
