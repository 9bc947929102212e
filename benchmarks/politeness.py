"""How much an evaluator beside it slows a training on the same processors, with the default settings of both.

    python -m benchmarks.politeness [--rounds 3] [--seconds 5] [--examples 4000]

A real trainer trains the tutorial's network on generated pictures; a real evaluator, with its default threads and
niceness, watches the same volume. In turns, round by round, the training's rate is measured

absent      while the evaluator is stopped (SIGSTOP), as if it were not there,
idle        while it runs and has nothing to judge,
evaluating  while it judges a checkpoint (raw and averaged weights, and the export) of another run.

Rates are steps a second from the trainer's own series; printed are the slowdowns of each round, and their medians.
Niceness has no effect among processes of real-time priority, so do not give it one.
"""

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.processes import program, until
from benchmarks.report import Report, add_output
from shared.checkpoints import Arrays, Checkpoint, CheckpointStore, spec_digest
from shared.layout import RunFolder, Volume
from shared.records import EvaluatorStatus, SeriesPoint, read_lines, read_record_or_none, write_record
from shared.spec import CadenceSpec, DatasetSpec, RunSpec

TRAINED, JUDGED = "20260101-000000-trained-0000", "20260101-000000-judged-0000"


class Scene:
    """A trainer at work, and an evaluator beside it.

    Args:
        volume: What both work on.
        spec: Of the run that is trained, and of the one that is judged.
        groups: Arrays of a checkpoint, by kind.
        evaluator: The evaluator's process.
    """

    def __init__(
        self, *, volume: Volume, spec: RunSpec, groups: Mapping[str, Arrays], evaluator: subprocess.Popen[bytes]
    ) -> None:
        self._trained, self._judged = volume.run(TRAINED), volume.run(JUDGED)
        self._spec = spec
        self._groups = groups
        self._evaluator = evaluator
        self._step = 0

    def round(self, seconds: float) -> tuple[float, float, float]:
        """One round: steps a second while the evaluator is absent, idle, and evaluating."""
        self._evaluator.send_signal(signal.SIGSTOP)
        absent = self._rate(lambda: time.sleep(seconds))
        self._evaluator.send_signal(signal.SIGCONT)
        idle = self._rate(lambda: time.sleep(seconds))
        return absent, idle, self._rate(self._evaluation)

    def _evaluation(self) -> None:
        self._step += 1
        store = CheckpointStore(self._judged)
        store.commit(step=self._step, fence=1, spec_sha256=spec_digest(self._spec), groups=self._groups, time=0.0)
        verdict = self._judged.verdict(self._step, self._spec.primary_ema)
        until(lambda: verdict.exists() or None, "a verdict")

    def _rate(self, what: Callable[[], None]) -> float:
        began = time.time()
        what()
        ended = time.time()
        time.sleep(0.5)  # for the steps at the end to be logged
        points = [(point.time, point.step) for _, point in read_lines(self._trained.series, SeriesPoint)]
        inside = [point for point in points if began <= point[0] <= ended]
        (first, begin), (last, end) = inside[0], inside[-1]
        return (end - begin) / (last - first)


def main() -> int:
    """Measures and prints."""
    flags = _flags()
    with tempfile.TemporaryDirectory(prefix="politeness-") as root, Report("politeness", flags.output) as report:
        volume = Volume(Path(root))
        spec = RunSpec(
            steps=10**9,
            dataset=DatasetSpec(kind="shapes", train_examples=5_000, test_examples=flags.examples),
            cadence=CadenceSpec(log_steps=1, summary_steps=None, checkpoint_steps=10**6, checkpoint_seconds=2.0),
        )
        for run in (TRAINED, JUDGED):
            write_record(volume.run(run).spec, spec)
        with (
            program("services.trainer", "--volume", root, "--run", TRAINED),
            program("services.evaluator", "--volume", root, "--run", JUDGED) as evaluator,
        ):
            first = until(lambda: _newest(volume.run(TRAINED)), "a checkpoint")
            groups = {kind: first.load(kind) for kind in (*first.manifest.weights, "optimizer")}
            status = volume.evaluator("evaluator") / "status.json"
            until(lambda: read_record_or_none(status, EvaluatorStatus), "the evaluator")
            scene = Scene(volume=volume, spec=spec, groups=groups, evaluator=evaluator)
            scene.round(flags.seconds)  # the evaluator builds its network in the first one
            rounds = [scene.round(flags.seconds) for _ in range(flags.rounds)]
        for absent, idle, evaluating in rounds:
            print(
                f"{absent:5.2f} steps/s alone   {idle:5.2f} beside it idle ({1 - idle / absent:6.1%} slower)   "
                f"{evaluating:5.2f} while it evaluates ({1 - evaluating / absent:6.1%} slower)"
            )
        idle_share, busy_share = (statistics.median(1 - each[place] / each[0] for each in rounds) for place in (1, 2))
        report.add("training is slower beside an evaluator at rest, by", idle_share, "", at_most=0.05)
        report.add("training is slower during an evaluation, by", busy_share, "", at_most=0.25)
        print(f"median: {idle_share:.1%} slower beside an idle evaluator, {busy_share:.1%} during an evaluation")
    return 0


def _newest(folder: RunFolder) -> Checkpoint | None:
    store = CheckpointStore(folder)
    steps = [step for step in store.steps() if step > 0]
    return store.open(steps[-1]) if steps else None


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.politeness", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of training, absent and idle")
    parser.add_argument("--examples", type=int, default=4_000, help="of the test set that is judged")
    add_output(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
