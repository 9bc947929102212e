"""What the rounds come to: the parts of a step, as a table and as figures with goals."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.report import Report
from benchmarks.step.rounds import Round
from shared.spec import RunSpec

RECIPE = "cifar10-tutorial"
SUMMARY_STEPS = 100


@dataclass(frozen=True)
class Parts:
    """Medians over the rounds in seconds; `gathering`, `pipeline`, `processor` and `beat` in those of processors.

    `step` is a whole one: its share of series and summaries is in it. `averages` holds the quartiles of the differences
    between stretches with and without them, a step each, and `averaging` is their update alone. `pipeline` is gathering
    and distorting a batch.
    """

    step: float
    processor: float
    waiting: float
    gathering: float
    distorting: float
    pipeline: float
    averages: tuple[float, float, float]
    averaging: float
    point: float
    summary: float
    beat: float

    @classmethod
    def of(cls, rounds: Sequence[Round], spec: RunSpec) -> "Parts":
        """What the rounds come to."""

        def median(value: Callable[[Round], float]) -> float:
            return statistics.median(value(one) for one in rounds)

        point = statistics.median(seconds for one in rounds for seconds in one.whole.told)
        summary = median(lambda one: one.whole.summarized)
        differences = [one.whole.wall / one.whole.steps - one.plain.wall / one.plain.steps for one in rounds]
        low, middle, high = np.quantile(differences, [0.25, 0.5, 0.75]).tolist()
        gathering = median(lambda one: one.whole.gathered / one.whole.steps)
        told = point / spec.cadence.log_steps + summary / _summary_steps(spec)
        return cls(
            step=median(lambda one: one.whole.wall / one.whole.steps) + told,
            processor=median(lambda one: one.whole.processor / one.whole.steps),
            waiting=median(lambda one: one.whole.waited / max(1, one.whole.steps - 1)),
            gathering=gathering,
            distorting=median(lambda one: one.distorting),
            pipeline=gathering + median(lambda one: one.distorting_processor),
            averages=(low, middle, high),
            averaging=median(lambda one: one.averaging),
            point=point,
            summary=summary,
            beat=median(lambda one: one.beat),
        )

    def telling(self, spec: RunSpec, *, interval: float) -> float:
        """The share of a step that series, summaries and heartbeats take together.

        Args:
            spec: Says how often the first two come.
            interval: Seconds between two heartbeats, whose thread is counted as if the loop waited for it.
        """
        steps = self.point / spec.cadence.log_steps + self.summary / _summary_steps(spec)
        return steps / self.step + self.beat / interval


def table(parts: Parts, spec: RunSpec, *, interval: float) -> str:
    """Where a step goes, in Markdown."""
    every, per_summary = spec.cadence.log_steps, _summary_steps(spec)
    beats = parts.beat / interval * parts.step
    (low, average, high), alone = parts.averages, 1e3 * parts.averaging
    own = parts.step - parts.waiting - parts.distorting - average - parts.point / every - parts.summary / per_summary
    lines = [
        ("forwards, backwards, update of the weights: the rest", own, ""),
        ("distorting", parts.distorting, "timed alone"),
        ("averages", average, f"difference, half of them {1e3 * low:.2f} to {1e3 * high:.2f} ms; alone {alone:.2f} ms"),
        ("waiting for the next batch", parts.waiting, "timed in the loop"),
        (f"series, every {every} steps", parts.point / every, f"{1e3 * parts.point:.2f} ms each"),
        (f"summaries, every {per_summary} steps", parts.summary / per_summary, f"{1e3 * parts.summary:.1f} ms each"),
        ("heartbeats, in their own thread", beats, f"{1e3 * parts.beat:.2f} ms of a processor, every {interval:g} s"),
        ("gathering, in its own thread", parts.gathering, "processor time"),
    ]
    rows = [f"| {name} | {1e3 * value:.2f} | {value / parts.step:.2%} | {how} |" for name, value, how in lines]
    whole = f"| the whole step | {1e3 * parts.step:.2f} | | {1e3 * parts.processor:.1f} ms of processors |"
    return "\n".join(["| part | ms of a step | share | |", "| --- | --- | --- | --- |", *rows, whole])


def add_figures(report: Report, parts: Parts, spec: RunSpec, *, interval: float) -> None:
    """The shares of a step, with what they may be at most."""
    low, average, high = (100 * value / parts.step for value in parts.averages)
    report.add(f"a step of {RECIPE}, batch {spec.batch_size}", 1e3 * parts.step, "ms")
    report.add("of it, waiting for the next batch", 100 * parts.waiting / parts.step, "%", at_most=3)
    report.add(
        "of its processor time, gathering and distorting", 100 * parts.pipeline / parts.processor, "%", at_most=3
    )
    report.add("of it, averages: the median difference to steps without", average, "%", at_most=2)
    report.add("… a quarter of the differences is below", low, "%")
    report.add("… and a quarter above", high, "%")
    report.add("… their update alone", 100 * parts.averaging / parts.step, "%")
    together = 100 * parts.telling(spec, interval=interval)
    report.add("of it, summaries, series and heartbeats together", together, "%", at_most=2)
    report.details["parts"] = asdict(parts)


def _summary_steps(spec: RunSpec) -> int:
    return spec.cadence.summary_steps or SUMMARY_STEPS
