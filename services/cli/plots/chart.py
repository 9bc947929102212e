"""Several curves in one drawing: as text for a terminal, as an SVG picture, and as CSV."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.text import Text

from services.cli.plots.braille import BLANK, BrailleCanvas
from services.cli.plots.lines import svg_lines
from shared.errors import NotFoundError

# Readable on light and on dark, and apart for most who see colours differently (Okabe and Ito's palette).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")


@dataclass(frozen=True)
class Curve:
    """A name and the points, ascending by step; of which those without a finite value are left out when drawn."""

    name: str
    points: Sequence[tuple[int, float | None]]

    @property
    def drawn(self) -> list[tuple[int, float]]:
        """The points that have a finite value."""
        return [(step, value) for step, value in self.points if value is not None and math.isfinite(value)]


@dataclass(frozen=True)
class _Frame:
    """The part of the plane that is drawn."""

    first: float
    last: float
    low: float
    high: float

    @classmethod
    def around(cls, curves: Sequence[Curve]) -> "_Frame | None":
        points = [point for curve in curves for point in curve.drawn]
        if not points:
            return None
        steps, values = [step for step, _ in points], [value for _, value in points]
        low, high = min(values), max(values)
        if low == high:
            low, high = low - (abs(low) / 10 or 0.5), high + (abs(high) / 10 or 0.5)
        return cls(first=min(steps), last=max(*steps, min(steps) + 1), low=low, high=high)

    def x(self, step: float) -> float:
        return (step - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def text_chart(curves: Sequence[Curve], *, width: int = 72, height: int = 12) -> list[Text]:
    """The curves in lines of coloured braille dots, with both ends of both axes named and a legend above.

    Args:
        curves: Up to as many as there are colours.
        width: Characters of the plot itself.
        height: Lines of the plot itself.
    """
    frame = _Frame.around(curves)
    legend = Text("  ").join(Text(f"● {curve.name}", style=_colour(number)) for number, curve in enumerate(curves))
    if frame is None:
        return [legend, Text("nothing to draw yet", style="dim")]
    canvas = BrailleCanvas(width=width, height=height)
    owners = [[0] * width for _ in range(height)]
    for number, curve in enumerate(curves):
        for column, row in _dots(curve.drawn, frame, 2 * width - 1, 4 * height - 1):
            canvas.dot(column, row)
            owners[row // 4][column // 2] = number
    labels = {0: f"{frame.high:.4g}", height - 1: f"{frame.low:.4g}"}
    margin = max(map(len, labels.values()))
    lines = [legend]
    for number, drawn in enumerate(canvas.lines()):
        line = Text(f"{labels.get(number, ''):>{margin}} ┤")
        for character, owner in zip(drawn, owners[number], strict=True):
            line.append(character, style="" if character == BLANK else _colour(owner))
        lines.append(line)
    first, last = f"{frame.first:,}", f"{frame.last:,}"
    return [*lines, Text(f"{'':>{margin}}  {first}{last:>{max(1, width - len(first))}}")]


def svg_chart(curves: Sequence[Curve], *, title: str) -> str:
    """The curves as a picture.

    Raises:
        NotFoundError: None of them has a point yet.
    """
    drawn = {curve.name: curve.drawn for curve in curves if curve.drawn}
    if not drawn:
        raise NotFoundError("there is nothing to draw yet", where=title)
    return svg_lines(drawn, title=title)


def csv_chart(curves: Sequence[Curve]) -> str:
    """The points as CSV, a column per curve, empty where a curve has none at that step; every digit is kept."""
    columns = [dict(curve.points) for curve in curves]
    names = ["step", *(f'"{curve.name}"' if "," in curve.name else curve.name for curve in curves)]
    lines = [",".join(names)]
    for step in sorted({step for column in columns for step in column}):
        values = [column.get(step) for column in columns]
        lines.append(",".join([str(step), *("" if value is None else repr(value) for value in values)]))
    return "\n".join(lines) + "\n"


def _dots(points: Sequence[tuple[int, float]], frame: _Frame, right: int, bottom: int) -> list[tuple[int, int]]:
    """The dots of a line through the points: column from the left, row from the top."""
    places = [(round(frame.x(step) * right), bottom - round(frame.y(value) * bottom)) for step, value in points]
    dots = places[:1]
    for (x, y), (to_x, to_y) in pairwise(places):
        length = max(abs(to_x - x), abs(to_y - y), 1)
        dots += [(x + round((to_x - x) * i / length), y + round((to_y - y) * i / length)) for i in range(1, length + 1)]
    return dots


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
