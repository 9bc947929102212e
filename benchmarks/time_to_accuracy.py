"""How long a recipe takes to a precision, from the command to the verdict: `python -m benchmarks.time_to_accuracy`.

Each run is a whole `tandem up` on a volume of its own: gateway, evaluator and trainer, from the command's start on,
with imports, compilation and evaluation. Seconds are those from the start to each verdict's own time. Seeds come one
after the other, recipes in turns. Writes every verdict as JSON, and draws EMA and raw precision against seconds.

A recipe that would take hours can be stopped on the way: `--limit cifar10-tutorial=600`. `--with FILE` takes the runs
of an earlier JSON file in, so that recipes can be compared without training all of them again; `--seeds` without a
number trains none.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from benchmarks.machine import processor_times
from benchmarks.report import Report, add_output
from services.cli.plots.lines import Points, svg_lines
from shared import recipes
from shared.devices import available_processors
from shared.layout import RunFolder, Volume, listed_steps
from shared.records import Verdict, read_record
from shared.spec import RunSpec, overlay, parse_spec

TARGET = 0.870
SECONDS = 600.0


@dataclass(frozen=True)
class Judged:
    """One verdict, and how many seconds after the command's start it was there. `decay` is null for raw weights."""

    step: int
    decay: float | None
    precision_at_1: float
    seconds: float


@dataclass(frozen=True)
class Attempt:
    """One run: its verdicts in the order of time, and how busy the machine was meanwhile.

    `others` is the share of the processors' time that processes outside of the run used; with much of it the seconds
    say little. `limit` is after how many seconds it was stopped before it had made its `steps`; None: it made them.
    """

    recipe: str
    seed: int
    steps: int
    seconds: float
    own: float
    others: float
    idle: float
    verdicts: list[Judged]
    limit: float | None = None

    def first(self, target: float, decay: float) -> Judged | None:
        """The first verdict on this average that reaches the target."""
        return next((one for one in self.verdicts if one.decay == decay and one.precision_at_1 >= target), None)

    def last(self, decay: float) -> float:
        """The precision of this average at the end."""
        return max((one.step, one.precision_at_1) for one in self.verdicts if one.decay == decay)[1]


def attempt(
    recipe: str, *, seed: int, data: Path | None, changes: dict[str, Any], limit: float | None = None
) -> Attempt:
    """Trains a recipe once with `tandem up`, and reads the verdicts.

    Args:
        recipe: Its name.
        seed: Laid over it.
        data: Where the data set's files are.
        changes: Laid over it, too.
        limit: Seconds after which it is stopped; None: it makes all its steps.

    Raises:
        SystemExit: It failed, and its last words stand above; or nothing was judged before it was stopped.
    """
    values = overlay(recipes.load(recipe), overlay(changes, {"seed": seed}))
    spec = parse_spec(values, source=recipe)
    with tempfile.TemporaryDirectory() as root:
        file = Path(root) / f"{recipe}.yaml"
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        volume = Volume(Path(root) / "volume")
        flags = [*("--recipe", str(file), "--volume", str(volume.root)), *(["--data", str(data)] if data else [])]
        before, began, clock = _processor_seconds(), time.time(), time.monotonic()
        status = _up(flags, limit=limit)
        seconds = time.monotonic() - clock
        if status:
            raise SystemExit(f"tandem up ended with {status}")
        shares = [
            (after - start) / (seconds * available_processors())
            for start, after in zip(before, _processor_seconds(), strict=True)
        ]
        verdicts = [one for folder in _runs(volume) for one in judged(folder, spec, began=began)]
        if not {None, spec.ema.decays[0]} <= {one.decay for one in verdicts}:
            raise SystemExit(f"{recipe} was not judged within {seconds:.0f} s; lower its cadence.checkpoint_steps")
        return Attempt(
            recipe=recipe,
            seed=seed,
            steps=spec.steps,
            seconds=seconds,
            own=shares[0],
            others=max(0.0, 1 - shares[0] - shares[1]),
            idle=shares[1],
            verdicts=verdicts,
            limit=limit if limit is not None and seconds >= limit else None,
        )


def _up(flags: Sequence[str], *, limit: float | None) -> int:
    """The status of `tandem up`; 0 if it was asked to stop, after so many seconds."""
    process = subprocess.Popen([sys.executable, "-m", "services.cli", "up", *flags])
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        return 0


def _runs(volume: Volume) -> list[RunFolder]:
    names = [path.name for path in volume.runs.glob("[!.]*")]
    return [volume.run(name) for name in names]


def judged(folder: RunFolder, spec: RunSpec, *, began: float) -> list[Judged]:
    """The verdicts of a run in the order of time.

    Args:
        folder: The run's.
        spec: Its specification.
        began: When it was started, in seconds since the epoch.
    """
    paths = [
        folder.evaluations / str(step) / f"{kind}.json"
        for step in listed_steps(folder.evaluations)
        for kind in spec.weights_kinds
    ]
    verdicts = [read_record(path, Verdict) for path in paths if path.exists()]
    return sorted(
        (
            Judged(step=one.step, decay=one.decay, precision_at_1=one.precision_at_1, seconds=one.time - began)
            for one in verdicts
            if one.precision_at_1 is not None
        ),
        key=lambda one: one.seconds,
    )


def earlier(record: Mapping[str, Any]) -> list[Attempt]:
    """The runs that an earlier JSON file of this benchmark holds."""
    return [
        Attempt(**{**one, "verdicts": [Judged(**verdict) for verdict in one["verdicts"]]})
        for one in record.get("attempts", [])
    ]


def merged(before: Sequence[Attempt], now: Sequence[Attempt]) -> list[Attempt]:
    """Earlier runs and those of now; of the same recipe and seed the one of now counts."""
    again = {(one.recipe, one.seed) for one in now}
    return [*(one for one in before if (one.recipe, one.seed) not in again), *now]


def summary(attempts: list[Attempt], *, decay: float, target: float) -> str:
    """A table of the attempts at one recipe, and their means."""
    rows = ["| seed | EMA precision at 1 | raw | seconds to the target | seconds in all | others |", "| --- " * 6 + "|"]
    for one in attempts:
        reached = one.first(target, decay)
        raw = max((judged.step, judged.precision_at_1) for judged in one.verdicts if judged.decay is None)[1]
        when = "never" if reached is None else f"{reached.seconds:.0f}"
        rows.append(
            f"| {one.seed} | {one.last(decay):.4f} | {raw:.4f} | {when} | {one.seconds:.0f} | {one.others:.1%} |"
        )
    times = [reached.seconds for one in attempts if (reached := one.first(target, decay)) is not None]
    reached_by = f"{len(times)} of {len(attempts)} reached {target}" + (f", after {mean(times):.0f} s" if times else "")
    average = mean(one.last(decay) for one in attempts)
    seconds = mean(one.seconds for one in attempts)
    rows.append(f"mean: EMA precision at 1 {average:.4f}, {seconds:.0f} s in all; {reached_by}")
    return "\n".join(rows)


def add_figures(report: Report, attempts: list[Attempt], *, decay: float, target: float, within: float) -> None:
    """What the attempts at one recipe come to. Where one was stopped on the way nothing is expected of them."""
    name = f"{attempts[0].recipe}, mean of {len(attempts)} seeds" if len(attempts) > 1 else attempts[0].recipe
    precision, seconds = mean(one.last(decay) for one in attempts), mean(one.seconds for one in attempts)
    stopped = [one.limit for one in attempts if one.limit is not None]
    if stopped:
        report.add(f"{name}, stopped after {mean(stopped):.0f} s: EMA precision at 1", precision, "")
        return
    report.add(f"{name}: EMA precision at 1", precision, "", at_least=target)
    report.add("… from the command to the end", seconds, "s", at_most=within)
    reached = [found.seconds for one in attempts if (found := one.first(target, decay)) is not None]
    if len(reached) == len(attempts):
        report.add(f"… to the verdict of {target:g}", mean(reached), "s", at_most=within)


def picture(attempts: Sequence[Attempt], *, title: str, logarithmic: bool = False) -> str:
    """Precision of averages and raw weights against seconds since the command, as SVG.

    Args:
        attempts: Each is two curves, or more where there are several averages.
        title: Stands above them.
        logarithmic: Each doubling of the seconds is as wide as another; or else the axis begins at the command.
    """
    curves: dict[str, Points] = {}
    for one in attempts:
        for decay in sorted({found.decay for found in one.verdicts}, key=lambda decay: decay or 0.0, reverse=True):
            name = f"{one.recipe} {one.seed} {'raw' if decay is None else 'EMA'}"
            curves[name] = [(found.seconds, found.precision_at_1) for found in one.verdicts if found.decay == decay]
    across = "seconds since the command" + (" (logarithmic)" if logarithmic else "")
    begin = None if logarithmic else 0.0
    return svg_lines(curves, title=title, across=across, begin=begin, logarithmic=logarithmic)


def _processor_seconds() -> tuple[float, float]:
    """Of all children that have ended, and idle of the whole machine."""
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    _, idle = processor_times()
    return own.ru_utime + own.ru_stime, idle / os.sysconf("SC_CLK_TCK")


def _limit(text: str) -> tuple[str, float]:
    """What `--limit` says: a recipe's name and seconds."""
    recipe, _, seconds = text.partition("=")
    return recipe, float(seconds)


def main() -> None:
    """Measures, prints, writes and draws."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.time_to_accuracy")
    parser.add_argument("--recipe", action="append", help="a recipe's name; may be repeated (cifar10-fast)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--target", type=float, default=TARGET)
    parser.add_argument("--within", type=float, default=SECONDS, help="seconds that the target is to take (600)")
    parser.add_argument("--data", type=Path, help="where the data set's files are")
    parser.add_argument("--set", type=yaml.safe_load, default={}, help="YAML laid over the recipes, as {steps: 500}")
    parser.add_argument(
        "--limit", type=_limit, action="append", default=[], metavar="RECIPE=SECONDS", help="stop it after so long"
    )
    parser.add_argument("--with", type=Path, dest="before", metavar="FILE", help="an earlier JSON file to take in")
    add_output(parser)
    parser.add_argument("--plot", type=Path, help="an SVG file to write")
    parser.add_argument("--logarithmic", action="store_true", help="seconds of the plot on a logarithmic axis")
    given = parser.parse_args()
    before: dict[str, Any] = {}
    if given.before is not None:
        before = json.loads(given.before.read_text(encoding="utf-8"))
    done: list[Attempt] = []
    with Report("time_to_accuracy", given.output) as report:
        for seed in given.seeds:
            for recipe in given.recipe or ["cifar10-fast"]:
                one = attempt(
                    recipe, seed=seed, data=given.data, changes=given.set, limit=dict(given.limit).get(recipe)
                )
                done.append(one)
                print(json.dumps(asdict(one)), flush=True)
        attempts = merged(earlier(before), done)
        for recipe in dict.fromkeys(one.recipe for one in attempts):
            own = [one for one in attempts if one.recipe == recipe]
            decay = parse_spec(overlay(recipes.load(recipe), given.set), source=recipe).ema.decays[0]
            add_figures(report, own, decay=decay, target=given.target, within=given.within)
            print(f"\n{recipe}, EMA of decay {decay}\n{summary(own, decay=decay, target=given.target)}")
        report.details["attempts"] = [asdict(one) for one in attempts]
        if before:
            report.details["earlier"] = {key: before[key] for key in ("command", "time", "machine")}
    if given.plot is not None:
        drawn = picture(attempts, title="precision at 1 by seconds", logarithmic=given.logarithmic)
        given.plot.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
