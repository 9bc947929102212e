"""One curve, drawn as text for a terminal and as an SVG picture. Needs no plotting library."""

from collections.abc import Sequence
from xml.sax.saxutils import escape  # nosec B406 # writes XML, and parses none

Point = tuple[int, float]

# A braille character is 2 dots wide and 4 high; the bits of its dots, column by column from the top.
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 36, 44


def text_curve(points: Sequence[Point], *, width: int = 72, height: int = 14) -> list[str]:
    """The curve in lines of braille dots, zero at the bottom, with the greatest value and both ends' steps named.

    Args:
        points: Step and value, ascending by step; values are at least 0.
        width: Characters of the plot itself.
        height: Lines of the plot itself.
    """
    first, last, top = _bounds(points)
    columns, rows = 2 * width, 4 * height
    cells = [[0] * width for _ in range(height)]
    below: int | None = None
    for column in range(columns):
        value = _value_at(points, first + (last - first) * column / (columns - 1))
        row = rows - 1 - round(value / top * (rows - 1))
        # A jump is drawn as a line, since a gap would look like a value that is missing.
        for dot in range(min(row, row if below is None else below), max(row, row if below is None else below) + 1):
            cells[dot // 4][column // 2] |= _DOTS[column % 2][dot % 4]
        below = row
    margin = max(len(_short(top)), 1)
    lines = []
    for number, line in enumerate(cells):
        label = {0: _short(top), height - 1: "0"}.get(number, "")
        lines.append(f"{label:>{margin}} ┤{''.join(chr(_BRAILLE + bits) for bits in line)}")
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
    across, down = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def x(step: float) -> float:
        return _LEFT + across * (step - first) / max(1, last - first)

    def y(value: float) -> float:
        return _TOP + down * (1 - value / top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" rx="6" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="14" fill="#222">{escape(title)}</text>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        step, value, foot = first + (last - first) * share, top * share, height - _BOTTOM + 18
        parts += [
            f'<path d="M{_LEFT} {y(value):.1f}H{width - _RIGHT}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#555">{_short(value)}</text>',
            f'<text x="{x(step):.1f}" y="{foot}" text-anchor="middle" fill="#555">{round(step):,}</text>',
        ]
    line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    parts += [
        f'<text x="{_LEFT + across / 2}" y="{height - 8}" text-anchor="middle" fill="#555">step</text>',
        f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="2" stroke-linejoin="round"/>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


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
