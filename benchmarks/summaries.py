"""What watching costs: training steps of the tutorial's network and summaries of it, timed in turns.

python -m benchmarks.summaries [--turns 10]
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import engines
from benchmarks.report import Report, add_output
from services.trainer.summaries import Summaries
from shared.devices import prepare_tensorflow
from shared.eventfiles import EventFile
from shared.spec import RunSpec

STEPS_A_TURN = 20


def measure(turns: int, folder: Path, report: Report) -> None:
    """Prints the medians."""
    spec = RunSpec()
    every = spec.cadence.summary_steps or 100
    engine = engines.build(spec)
    lost: list[int] = []
    summaries = Summaries(
        engine=engine,
        batch=lambda step: engines.noise(step, size=spec.batch_size),
        events=EventFile(folder),
        on_loss=lambda: lost.append(1),
        time=time.time,
    )
    step_seconds, summary_seconds = [], []
    for turn in range(turns + 1):
        batches = [engines.noise(engine.step + position, size=spec.batch_size) for position in range(STEPS_A_TURN)]
        start = time.perf_counter()
        engine.train(batches)
        engine.losses()
        middle = time.perf_counter()
        summaries.write(engine.step, middle)
        end = time.perf_counter()
        if turn:  # the first one builds the graphs
            step_seconds.append((middle - start) / STEPS_A_TURN)
            summary_seconds.append(end - middle)
    summaries.close()
    step, summary = statistics.median(step_seconds), statistics.median(summary_seconds)
    size = sum(path.stat().st_size for path in folder.iterdir()) / (turns + 1)
    share = 100 * summary / (every * step)
    report.add(f"of the time for summaries every {every} steps", share, "%", at_most=2)
    print(f"a step of {spec.batch_size} pictures  {1e3 * step:8.1f} ms")
    print(f"a summary               {1e3 * summary:8.1f} ms, {size / 1e3:.1f} kB")
    print(f"every {every} steps         {share:8.2f} % of the time")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Times training steps and summaries in turns.")
    parser.add_argument("--turns", type=int, default=10, help="pairs of measurements (10)")
    add_output(parser)
    given = parser.parse_args()
    prepare_tensorflow(os.environ, device="cpu")
    with tempfile.TemporaryDirectory() as folder, Report("summaries", given.output) as report:
        measure(given.turns, Path(folder), report)


if __name__ == "__main__":
    main()
