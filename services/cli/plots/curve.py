"""One curve, drawn as text for a terminal and as an SVG picture."""

from collections.abc import Sequence

from services.cli.plots.axes import Axes
from services.cli.plots.braille import BrailleCanvas

Point = tuple[int, float]

_TOP = 36


def text_curve(points: Sequence[Point], *, width: int = 72, height: int = 14) -> list[str]:
    """The curve in lines of braille dots, zero at the bottom, with the greatest value and both ends' steps named.

    Args:
        points: Step and value, ascending by step; values are at least 0.
        width: Characters of the plot itself.
        height: Lines of the plot itself.
    """
    first, last, top = _bounds(points)
    columns, rows = 2 * width, 4 * height
    canvas = BrailleCanvas(width=width, height=height)
    below: int | None = None
    for column in range(columns):
        value = _value_at(points, first + (last - first) * column / (columns - 1))
        row = rows - 1 - round(value / top * (rows - 1))
        # A jump is drawn as a line, since a gap would look like a value that is missing.
        for dot in range(min(row, row if below is None else below), max(row, row if below is None else below) + 1):
            canvas.dot(column, dot)
        below = row
    margin = max(len(_short(top)), 1)
    lines = []
    for number, line in enumerate(canvas.lines()):
        label = {0: _short(top), height - 1: "0"}.get(number, "")
        lines.append(f"{label:>{margin}} ┤{line}")
    ends = f"{first:,}{last:>{width - len(f'{first:,}')},}"
    return [*lines, f"{'':>{margin}}  {ends}"]


def svg_curve(points: Sequence[Point], *, title: str, width: int = 720, height: int = 280) -> str:
    """The curve as a picture with axes, readable on light and on dark pages.

    Args:
        points: Step and value, ascending by step; values are at least 0.
        title: Stands above it.
        width: In pixels.
        height: In pixels.
    """
    first, last, top = _bounds(points)
    axes = Axes(first=first, last=last, low=0.0, high=top, width=width, height=height, top=_TOP)
    look = 'fill="none" stroke="#1f6feb" stroke-width="2" stroke-linejoin="round"'
    line = f'<polyline points="{axes.line(points)}" {look}/>'
    return axes.drawn([line], title=title, across="step", shown=_short)


def _bounds(points: Sequence[Point]) -> tuple[int, int, float]:
    return points[0][0], points[-1][0], max(value for _, value in points) or 1.0


def _value_at(points: Sequence[Point], step: float) -> float:
    """The value of the last point that is not behind `step`."""
    low, high = 0, len(points)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if points[middle][0] <= step else (low, middle)
    return points[low][1]


def _short(value: float) -> str:
    return f"{value:.3g}"
