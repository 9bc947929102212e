"""What a benchmark found, as a file: figures with units and goals, on what they were measured, and how idle it was."""

import json
import operator
import platform
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.machine import describe, processor_times

COMPARISONS = {"at most": operator.le, "at least": operator.ge}


@dataclass(frozen=True)
class Goal:
    """What a figure should be: `at most` or `at least` a value."""

    comparison: str
    value: float

    def met(self, value: float) -> bool:
        """Whether a figure is as it should be."""
        return bool(COMPARISONS[self.comparison](value, self.value))


@dataclass(frozen=True)
class Figure:
    """One figure: what it is, its value in a unit ("" for a ratio), and the goal if there is one."""

    name: str
    value: float
    unit: str
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        return None if self.goal is None else self.goal.met(self.value)


@dataclass
class Report:
    """Collects a benchmark's figures while it measures, and is written when the block ends without an error.

    Args:
        benchmark: Its name: `python -m benchmarks.<name>`.
        output: The JSON file, or None to write none.
    """

    benchmark: str
    output: Path | None
    figures: list[Figure] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def add(
        self, name: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        """Adds a figure, with a goal if it has one."""
        goal = None
        if at_most is not None:
            goal = Goal("at most", at_most)
        elif at_least is not None:
            goal = Goal("at least", at_least)
        self.figures.append(Figure(name, value, unit, goal))

    def __enter__(self) -> Self:
        """Notes when it began."""
        self._began, self._before = time.time(), processor_times()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Writes the file."""
        total, idle = (now - before for now, before in zip(processor_times(), self._before, strict=True))
        if kind is not None or self.output is None:
            return
        record = {
            "benchmark": self.benchmark,
            "command": " ".join(["python -m", f"benchmarks.{self.benchmark}", *shown(sys.argv[1:])]),
            "time": self._began,
            "seconds": time.time() - self._began,
            "idle": idle / max(1, total),
            "machine": describe() | {"system": platform.release()},
            "figures": [asdict(figure) | {"met": figure.met} for figure in self.figures],
            **self.details,
        }
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"written to {self.output}")


def shown(arguments: Sequence[str]) -> list[str]:
    """A command's arguments without where files lie on this machine."""
    words = list(arguments)
    for flag in ("--output", "--volume", "--plot", "--plots", "--data", "--model", "--with"):
        if flag in words:
            at = words.index(flag)
            words[at : at + 2] = [flag, "…"] if flag in {"--data", "--model", "--with"} else []
    return words


def add_output(parser: ArgumentParser) -> None:
    """Adds the flag that every benchmark has."""
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
