"""Where a step's time goes: `python -m benchmarks.step`.

The tutorial's recipe is trained in stretches, by the trainer's own loop with its batches, series and summaries, in
turns with averages and without. Averages are within the graph of a step, so they cost what the stretches differ by,
round by round; on a busy machine, where that is lost in the noise, their update alone tells more. The rest is timed
where it happens: the loop's wait for the next batch, the processor time of the thread that gathers batches, a point of
the series, a summary; and alone, with every round, a batch's distortion and a heartbeat. What checkpoints cost is
measured by `benchmarks.checkpointing`.
"""

import argparse
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.report import Report, add_output
from benchmarks.step.parts import RECIPE, Parts, add_figures, table
from benchmarks.step.rounds import measure
from services.trainer.settings import TrainerSettings
from shared import recipes
from shared.devices import prepare_tensorflow
from shared.layout import Volume
from shared.spec import overlay, parse_spec


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", help="a folder with CIFAR-10 in its official layout; without it, generated shapes")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=20, help="of a stretch; there are two in a round")
    add_output(parser)
    given = parser.parse_args()
    prepare_tensorflow(os.environ, device="auto")
    data = {"kind": "cifar10", "path": given.data} if given.data else {"kind": "shapes"}
    spec = parse_spec(overlay(recipes.load(RECIPE), {"dataset": data}), source=RECIPE)
    with tempfile.TemporaryDirectory() as folder, Report("step", given.output) as report:
        volume = Volume(Path(folder))
        rounds = measure(spec, volume, rounds=given.rounds, steps=given.steps)
        parts = Parts.of(rounds, spec)
        interval = TrainerSettings().trainer_heartbeat_seconds
        print(table(parts, spec, interval=interval))
        add_figures(report, parts, spec, interval=interval)
        report.details["rounds"] = [asdict(one) for one in rounds]


if __name__ == "__main__":
    main()
