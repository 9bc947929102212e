"""Several curves over one axis of steps, as an SVG picture with a legend."""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape  # nosec B406 # writes XML, and parses none

from services.cli.plots.axes import LEFT, Axes

Points = Sequence[tuple[float, float]]

COLORS = ("#d1242f", "#1f6feb", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#57606a", "#0a7ea4", "#953800")

_TOP = 58
_LETTER, _ROW = 7.0, 16


def svg_lines(
    curves: Mapping[str, Points],
    *,
    title: str,
    across: str = "step",
    from_zero: bool = False,
    begin: float | None = None,
    logarithmic: bool = False,
    width: int = 720,
    height: int = 360,
) -> str:
    """The curves as one picture with axes, readable on light and on dark pages.

    Args:
        curves: Each curve's name, and its points by step; every curve has one, and every value is finite.
        title: Stands above them.
        across: What the horizontal axis counts.
        from_zero: The vertical axis begins at zero; or else where the least value is.
        begin: Where the horizontal axis begins; None: where the first point is.
        logarithmic: The horizontal axis is; every step is greater than zero then.
        width: In pixels.
        height: In pixels, and more where the names do not fit into one row.
    """
    first, last, low, high = _bounds(curves, from_zero=from_zero)
    legend = _legend(list(curves), width=width)
    more = _ROW * (len({row for _, row in legend}) - 1)
    axes = Axes(
        first=first if begin is None else begin,
        last=last,
        low=low,
        high=high,
        width=width,
        height=height + more,
        top=_TOP + more,
        logarithmic=logarithmic,
    )
    lines = []
    for number, ((name, points), (place, row)) in enumerate(zip(curves.items(), legend, strict=True)):
        color = COLORS[number % len(COLORS)]
        lines += [
            f'<path d="M{place:.0f} {40 + _ROW * row}h16" stroke="{color}" stroke-width="3"/>',
            f'<text x="{place + 21:.0f}" y="{44 + _ROW * row}" fill="#222">{escape(name)}</text>',
            f'<polyline points="{axes.line(points)}" fill="none" stroke="{color}" stroke-width="1.6"'
            ' stroke-linejoin="round"/>',
        ]
    return axes.drawn(lines, title=title, across=across, shown="{:.4g}".format)


def _legend(names: Sequence[str], *, width: int) -> list[tuple[float, int]]:
    """Where each name of the legend begins, in pixels from the left, and in which row."""
    places, place, row = [], float(LEFT), 0
    for name in names:
        length = 21 + _LETTER * len(name) + 16
        if place > LEFT and place + length > width:
            place, row = float(LEFT), row + 1
        places.append((place, row))
        place += length
    return places


def _bounds(curves: Mapping[str, Points], *, from_zero: bool) -> tuple[float, float, float, float]:
    """First and last step; the ends of the vertical axis, a little beyond the values."""
    steps = [step for points in curves.values() for step, _ in points]
    values = [value for points in curves.values() for _, value in points]
    low = 0.0 if from_zero else min(values)
    high = max(values)
    margin = 0.05 * (high - low) or math.ulp(1.0)
    return min(steps), max(steps), low if from_zero else low - margin, high + margin
