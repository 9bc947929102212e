"""Several curves over one axis of steps, as an SVG picture with a legend. Needs no plotting library."""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape  # nosec B406 # writes XML, and parses none

Points = Sequence[tuple[float, float]]

COLORS = ("#d1242f", "#1f6feb", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#57606a", "#0a7ea4", "#953800")

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 58, 44
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
    first = first if begin is None else begin
    legend = _legend(list(curves), width=width)
    top = _TOP + _ROW * (len({row for _, row in legend}) - 1)
    height += top - _TOP
    wide, tall = width - _LEFT - _RIGHT, height - top - _BOTTOM

    def along(step: float) -> float:
        return math.log(step) if logarithmic else step

    def x(step: float) -> float:
        return _LEFT + wide * (along(step) - along(first)) / ((along(last) - along(first)) or 1.0)

    def y(value: float) -> float:
        return top + tall * (1 - (value - low) / (high - low))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" rx="6" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="14" fill="#222">{escape(title)}</text>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        step = first * (last / first) ** share if logarithmic else first + (last - first) * share
        value, foot = low + (high - low) * share, height - _BOTTOM + 18
        parts += [
            f'<path d="M{_LEFT} {y(value):.1f}H{width - _RIGHT}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#555">{value:.4g}</text>',
            f'<text x="{x(step):.1f}" y="{foot}" text-anchor="middle" fill="#555">{round(step):,}</text>',
        ]
    for number, ((name, points), (place, row)) in enumerate(zip(curves.items(), legend, strict=True)):
        color = COLORS[number % len(COLORS)]
        line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
        parts += [
            f'<path d="M{place:.0f} {40 + _ROW * row}h16" stroke="{color}" stroke-width="3"/>',
            f'<text x="{place + 21:.0f}" y="{44 + _ROW * row}" fill="#222">{escape(name)}</text>',
            f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.6" stroke-linejoin="round"/>',
        ]
    parts += [
        f'<text x="{_LEFT + wide / 2}" y="{height - 8}" text-anchor="middle" fill="#555">{escape(across)}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(names: Sequence[str], *, width: int) -> list[tuple[float, int]]:
    """Where each name of the legend begins, in pixels from the left, and in which row."""
    places, place, row = [], float(_LEFT), 0
    for name in names:
        length = 21 + _LETTER * len(name) + 16
        if place > _LEFT and place + length > width:
            place, row = float(_LEFT), row + 1
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
