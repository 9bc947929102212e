"""How training scales with threads, logical devices and the size of a batch: `python -m benchmarks.scaling`.

Each case is a process of its own, since threads and devices are told to TensorFlow once; it makes steps of the
tutorial's network on random pictures and prints its pictures per second and the greatest memory it held. Cases take
turns over several rounds, and the median counts. `--plots` is a folder for pictures of both.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import engines
from benchmarks.report import Report, add_output
from services.cli.plots.lines import Points, svg_lines
from shared.devices import available_processors, prepare_tensorflow
from shared.spec import parse_spec

BATCHES = (32, 64, 128, 256, 512, 1024)
DEVICES = (1, 2, 4)
# That of the tutorial, where the number of threads or devices is what changes.
BATCH = 128


@dataclass(frozen=True)
class Case:
    """What is measured: threads for the whole process, logical devices that share them, pictures in a global batch."""

    threads: int
    devices: int
    batch: int


@dataclass(frozen=True)
class Found:
    """Of one case: pictures per second, and the greatest resident memory of its process in MiB."""

    case: Case
    throughput: float
    memory: float


def cases(*, batches: Sequence[int], threads: Sequence[int], devices: Sequence[int]) -> list[Case]:
    """Every batch with every number of threads on one device, and every number of devices with the most threads."""
    most = max(threads)
    found = [Case(count, 1, batch) for count in threads for batch in batches]
    found += [Case(most, count, batch) for count in devices if count > 1 for batch in batches]
    return found


def measure(case: Case, *, seconds: float) -> None:
    """Within a process of its own: makes steps for about so many seconds, and prints what `Found` holds as JSON."""
    prepare_tensorflow(os.environ, device="cpu", threads=case.threads)
    # TensorFlow reads the environment when it is imported.
    from services.trainer.devices import divide_processor  # noqa: PLC0415

    if case.devices > 1:
        divide_processor(case.devices)
    spec = parse_spec({"batch_size": case.batch, "devices": "all"}, source="scaling")
    engine = engines.build(spec)
    noise = engines.noise(0, size=case.batch)

    def step() -> None:
        engine.train([replace(noise, step=engine.step)])
        engine.losses()  # waits for the device

    for _ in range(3):
        step()
    steps, began = 0, time.perf_counter()
    while steps < 3 or time.perf_counter() - began < seconds:
        step()
        steps += 1
    throughput = steps * case.batch / (time.perf_counter() - began)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({"throughput": throughput, "memory": memory}))


def run(case: Case, *, seconds: float) -> Found:
    """Measures one case in a process of its own.

    Raises:
        SystemExit: It failed; its last words stand above.
    """
    words = [str(case.threads), str(case.devices), str(case.batch)]
    command = [sys.executable, "-m", "benchmarks.scaling", "--case", *words, "--seconds", str(seconds)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{case} ended with {done.returncode}")
    return Found(case=case, **json.loads(done.stdout.splitlines()[-1]))


def medians(rounds: Sequence[Sequence[Found]]) -> list[Found]:
    """The median throughput and memory of each case, in the order of the first round."""
    return [
        Found(
            case=one[0].case,
            throughput=statistics.median(found.throughput for found in one),
            memory=statistics.median(found.memory for found in one),
        )
        for one in zip(*rounds, strict=True)
    ]


def curves(found: Sequence[Found], value: str) -> dict[str, Points]:
    """`throughput` or `memory` by the size of the batch, for each number of threads and devices."""
    result: dict[str, list[tuple[float, float]]] = {}
    for one in found:
        name = f"{one.case.threads} thread{'s' * (one.case.threads > 1)}"
        if one.case.devices > 1:
            name = f"{one.case.devices} logical devices"
        result.setdefault(name, []).append((one.case.batch, getattr(one, value)))
    return dict(result)


def table(found: Sequence[Found]) -> str:
    """All cases in Markdown."""
    rows = ["| threads | logical devices | batch | pictures/s | memory, MiB |", "| --- " * 5 + "|"]
    rows += [
        f"| {one.case.threads} | {one.case.devices} | {one.case.batch} | {one.throughput:,.0f} | {one.memory:,.0f} |"
        for one in found
    ]
    return "\n".join(rows)


def add_figures(report: Report, found: Sequence[Found], *, batch: int) -> None:
    """How many times as fast more threads, devices and pictures in a batch are, and the memory of the extremes."""
    by_case: Mapping[Case, Found] = {one.case: one for one in found}
    most = max(case.threads for case in by_case)
    base = by_case[Case(most, 1, batch)]
    for case, one in by_case.items():
        if case.batch == batch and case.devices == 1 and case.threads < most:
            ratio = base.throughput / one.throughput
            report.add(f"{most} threads, batch {batch}: as fast as {case.threads}", ratio, "")
        if case.batch == batch and case.devices > 1:
            ratio = one.throughput / base.throughput
            report.add(f"{case.devices} logical devices, batch {batch}: as fast as one", ratio, "")
    for size in sorted({case.batch for case in by_case} - {batch}):
        ratio = by_case[Case(most, 1, size)].throughput / base.throughput
        report.add(f"batch {size}: pictures per second, as many as with {batch}", ratio, "")
    for size in sorted({case.batch for case in by_case}):
        report.add(f"memory of the trainer's engine, batch {size}", by_case[Case(most, 1, size)].memory, "MiB")
    report.details["cases"] = [asdict(one) for one in found]


def draw(folder: Path, found: Sequence[Found]) -> None:
    """Writes scaling-throughput.svg and scaling-memory.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    for value, title in (
        ("throughput", "pictures per second by the size of the batch"),
        ("memory", "memory in MiB by the size of the batch"),
    ):
        content = svg_lines(curves(found, value), title=title, across="pictures in a batch", from_zero=True)
        (folder / f"scaling-{value}.svg").write_text(content, encoding="utf-8")


def main() -> None:
    """Measures, prints, writes and draws."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--threads", type=int, nargs="+", help="(1 and as many as there are processors)")
    parser.add_argument("--devices", type=int, nargs="+", default=list(DEVICES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of steps in each case, in each round")
    parser.add_argument("--plots", type=Path, help="a folder for the pictures")
    parser.add_argument("--case", type=int, nargs=3, help=argparse.SUPPRESS)
    add_output(parser)
    given: Any = parser.parse_args()
    if given.case:
        measure(Case(*given.case), seconds=given.seconds)
        return
    threads = given.threads or sorted({1, available_processors()})
    with Report("scaling", given.output) as report:
        planned = cases(batches=given.batches, threads=threads, devices=given.devices)
        found = medians([[run(case, seconds=given.seconds) for case in planned] for _ in range(given.rounds)])
        print(table(found))
        add_figures(report, found, batch=BATCH if BATCH in given.batches else given.batches[0])
    if given.plots is not None:
        draw(given.plots, found)


if __name__ == "__main__":
    main()
