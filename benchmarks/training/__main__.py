"""`python -m benchmarks.training`: the whole trainer against Keras `fit`, in turns.

Every contestant is a process of its own and trains the tutorial network at batch size 128; importing, compiling and
the first steps are not counted. `trainer` is `python -m services.trainer` as it is: augmentation, averages, a line of
the series every 10 steps, and two durable checkpoints within the measured steps, many times more than in a real run.
What the others are, `keras_fit` says. Ratios are taken round by round, since a machine's speed drifts.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import yaml

from benchmarks import machine
from benchmarks.report import Report, add_output
from benchmarks.training import peak
from benchmarks.training.contest import Task, Window
from shared.devices import available_processors
from shared.layout import Volume
from shared.records import SeriesPoint, read_lines

CONTESTANTS = ("trainer", "keras per-image", "keras per-batch")
LOG_STEPS = 10
# Time is what counts; processor time holds still when others use the machine, and says nothing of idling.
MEASURES = ("step_milliseconds", "processor_milliseconds")


class Contest:
    """Lets contestants train, each in a process of its own, whose load is noted."""

    def __init__(self, *, task: Task, load: machine.LoadLog) -> None:
        self._task = task
        self._load = load

    def run(self, contestant: str, folder: Path) -> dict[str, float]:
        """Lets one contestant train in a new folder, and returns its figures."""
        folder.mkdir(parents=True)
        window = self._trainer(folder) if contestant == "trainer" else self._keras(contestant, folder)
        load = self._load.during(window.start, window.end)
        step = 1000 * window.step_seconds
        return {
            "step_milliseconds": step,
            "processor_milliseconds": step * load.own * available_processors(),
            "examples_per_second": self._task.batch_size / window.step_seconds,
            **asdict(load),
        }

    def _keras(self, contestant: str, folder: Path) -> Window:
        (folder / "task.json").write_text(self._task.to_json())
        kind = contestant.removeprefix("keras ")
        self._execute(folder, "benchmarks.training.keras_fit", folder / "task.json", kind, folder / "result.json")
        return Window.read(folder / "result.json")

    def _trainer(self, folder: Path) -> Window:
        task = self._task
        steps = task.warmup_steps + task.measured_steps
        # One checkpoint falls in the middle of what is measured, and another one on its end.
        recipe = {
            "steps": steps,
            "batch_size": task.batch_size,
            "dataset": task.dataset,
            "cadence": {"log_steps": LOG_STEPS, "checkpoint_steps": steps // 2},
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        run = Volume(Path(task.volume)).run(f"benchmark-{folder.parent.name}")
        volume, name, path = "--volume", "--run", "--recipe"
        self._execute(folder, "services.trainer", volume, task.volume, name, run.id, path, folder / "recipe.yaml")
        times = {point.step: point.time for _, point in read_lines(run.series, SeriesPoint)}
        return Window(steps=task.measured_steps, start=times[task.warmup_steps], end=times[steps])

    def _execute(self, folder: Path, module: str, *arguments: str | Path) -> None:
        output = folder / "output.txt"
        with output.open("wb") as file:
            process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=file, stderr=file)
            self._load.watch(process.pid)
            status = process.wait()
        if status:
            raise SystemExit(f"{module} failed:\n{output.read_text()[-3000:]}")


def line(figures: dict[str, dict[str, float]]) -> str:
    """One round for people."""
    parts = []
    for name, figure in figures.items():
        text = f"{name} {figure['step_milliseconds']:.1f} ms/step"
        if name != "trainer":
            text += f" = {ratio(figures, name, 'step_milliseconds'):.2f} x"
        parts.append(f"{text} ({figure['idle']:.0%} idle, others {figure['others']:.0%})")
    return "; ".join(parts)


def ratio(figures: dict[str, dict[str, float]], name: str, what: str) -> float:
    """How many times as much `name` takes as the trainer."""
    return figures[name][what] / figures["trainer"][what]


def main() -> None:
    """Runs the rounds, prints each, and writes all of it to a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a folder with CIFAR-10 in its official layout; without it, generated shapes")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=200, help="measured steps of each contestant, a multiple of 20")
    add_output(parser)
    given = parser.parse_args()

    rounds: list[dict[str, dict[str, float]]] = []
    peaks: list[peak.Peak] = []
    with (
        tempfile.TemporaryDirectory() as temporary,
        machine.LoadLog() as load,
        Report("training", given.output) as report,
    ):
        task = Task(
            dataset={"kind": "cifar10", "path": given.data} if given.data else {"kind": "shapes"},
            volume=str(Path(temporary) / "volume"),
            batch_size=128,
            warmup_steps=30,
            measured_steps=given.steps,
        )
        contest = Contest(task=task, load=load)
        for number in range(given.rounds):
            folder = Path(temporary) / f"round{number}"
            figures = {name: contest.run(name, folder / name.replace(" ", "-")) for name in CONTESTANTS}
            rounds.append(figures)
            peaks.append(peak.find(batch_size=task.batch_size))
            print(f"round {number + 1}: {line(figures)}", flush=True)
        ratios = {
            name: {what: statistics.median(ratio(figures, name, what) for figures in rounds) for what in MEASURES}
            for name in CONTESTANTS[1:]
        }
        own = statistics.median(figures["trainer"]["step_milliseconds"] for figures in rounds)
        report.add("a step of the whole trainer, tutorial network, batch 128", own, "ms")
        fastest = statistics.median(one.operations_per_second for one in peaks)
        share = statistics.median(
            one.share(figures["trainer"]["step_milliseconds"] / 1000)
            for one, figures in zip(peaks, rounds, strict=True)
        )
        print(f"the trainer reaches {share:.0%} of the {fastest / 1e9:.0f} billion operations a second of a product")
        report.add("… of the speed of a matrix product of 2048 x 2048 in float32", 100 * share, "%")
        report.add("… which is, in billions of operations a second", fastest / 1e9, "")
        for name, medians in ratios.items():
            by_time, by_processor = (medians[what] for what in MEASURES)
            print(
                f"median: {name} takes {by_time:.2f} x the time and {by_processor:.2f} x the processor time of a step"
            )
            report.add(f"{name} takes, of the trainer's time", by_time, "", at_least=1.5)
            report.add("… and of its processor time", by_processor, "")
        report.details |= {"task": task.shown(), "rounds": rounds, "peaks": [asdict(one) for one in peaks]}


if __name__ == "__main__":
    main()
