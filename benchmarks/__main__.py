"""Every benchmark, one after the other, and the page of their figures.

    python -m benchmarks [NAME …] [--data DIR] [--results DIR] [--page FILE]
    python -m benchmarks --page-only

Each writes RESULTS/<name>.json; the page is made of all files that lie there, so one benchmark can be run anew alone.
Run it on a machine that does nothing else: the page says how idle each one found it.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "docs/benchmarks", ROOT / "docs/benchmarks.md"


@dataclass(frozen=True)
class Benchmark:
    """One command, and how it is called.

    Attributes:
        name: `python -m benchmarks.<name>`.
        title: Of its part of the page.
        photographs: Whether `--data` is passed on, a folder with CIFAR-10.
        arguments: Besides.
    """

    name: str
    title: str
    photographs: bool = False
    arguments: tuple[str, ...] = ()

    def command(self, *, results: Path, data: str | None) -> list[str]:
        """What is executed."""
        words = [sys.executable, "-m", f"benchmarks.{self.name}", "--output", str(results / f"{self.name}.json")]
        return [*words, *self.arguments, *(["--data", data] if self.photographs and data else [])]


BENCHMARKS = [
    Benchmark("training", "The trainer beside Keras `fit`", photographs=True),
    Benchmark("step", "Where a step's time goes", photographs=True),
    Benchmark("checkpointing", "What a checkpoint costs the training"),
    Benchmark("summaries", "What TensorBoard's summaries cost the training"),
    Benchmark("evaluation", "The evaluator beside Keras `evaluate`"),
    Benchmark("following", "How soon after a commit its evaluation begins"),
    Benchmark("politeness", "What an evaluator costs the training beside it"),
    Benchmark("serving", "The gateway's predictions beside three peers"),
    Benchmark("pages", "What open pages cost the gateway"),
    Benchmark("series", "Curves of long runs"),
    Benchmark("memory", "Memory over long runs"),
    Benchmark("precision", "Mixed precision and XLA"),
    Benchmark("scaling", "Threads, logical devices and the size of a batch"),
    Benchmark("many_runs", "Ten thousand finished runs on the volume"),
    Benchmark("time_to_accuracy", "From the command to a precision of 0.870", photographs=True),
]


def page(records: Sequence[dict[str, Any]]) -> str:
    """The figures of all benchmarks in Markdown.

    Args:
        records: What `Report` writes, in the order of the page.
    """
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench` from the files in [benchmarks/](benchmarks/), which hold more. What the figures mean,",
        "what was tried and what limits them stands in [performance.md](performance.md). A missed goal is shown, too.",
    ]
    titles = {benchmark.name: benchmark.title for benchmark in BENCHMARKS}
    for record in records:
        machine = record["machine"]
        versions = ", ".join(
            f"{name} {machine[name]}" for name in ("tensorflow-cpu", "tensorflow", "keras") if name in machine
        )
        day = time.strftime("%Y-%m-%d", time.gmtime(record["time"]))
        where = f"{machine['processors']} processors ({machine['processor']}, {machine['features']})"
        lines += [
            "",
            f"## {titles[record['benchmark']]}",
            f"`{record['command']}`: {day}, {record['seconds']:.0f} s, {record['idle']:.0%} idle, {where}, {versions}",
            "",
            "| figure | measured | goal | |",
            "| --- | --- | --- | --- |",
            *(_row(figure) for figure in record["figures"]),
        ]
    return "\n".join([*lines, ""])


def _row(figure: dict[str, Any]) -> str:
    unit, goal = figure["unit"], figure["goal"]
    wanted = "" if goal is None else f"{goal['comparison']} {goal['value']:g} {unit}".strip()
    verdict = {None: "", True: "reached", False: "**missed**"}[figure["met"]]
    value = figure["value"]
    measured = f"{value:,.0f} {unit}".strip() if value >= 1000 else f"{value:.3g} {unit}".strip()
    return f"| {figure['name']} | {measured} | {wanted} | {verdict} |"


def main() -> int:
    """Runs what is asked for and writes the page; 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all without it")
    parser.add_argument("--data", help="a folder with CIFAR-10 in its official layout, for those that train on it")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--page-only", action="store_true", help="measure nothing")
    given = parser.parse_args()
    known = [benchmark.name for benchmark in BENCHMARKS]
    if unknown := sorted(set(given.names) - set(known)):
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(known)}")
    failed = []
    for benchmark in BENCHMARKS:
        if not given.page_only and (not given.names or benchmark.name in given.names):
            print(f"== {benchmark.title}", flush=True)
            command = benchmark.command(results=given.results, data=given.data)
            if subprocess.run(command, cwd=ROOT, check=False).returncode:
                failed.append(benchmark.name)
    files = [given.results / f"{name}.json" for name in known]
    given.page.write_text(page([json.loads(file.read_text()) for file in files if file.exists()]), encoding="utf-8")
    print(f"{given.page} is made" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
