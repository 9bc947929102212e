"""The axes of an SVG picture: where a value stands in it, and the lines and words around what is drawn."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape  # nosec B406 # writes XML, and parses none

LEFT = 64
_RIGHT, _BOTTOM = 24, 44


@dataclass(frozen=True)
class Axes:
    """Two axes in a picture that can be read on light and on dark pages.

    Attributes:
        first: The least value across.
        last: The greatest value across.
        low: The least value upwards.
        high: The greatest value upwards, which is more than `low`.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        top: Pixels above the axes, for a title and what else stands there.
        logarithmic: The axis across is; its values are greater than zero then.
    """

    first: float
    last: float
    low: float
    high: float
    width: int
    height: int
    top: int
    logarithmic: bool = False

    def line(self, points: Sequence[tuple[float, float]]) -> str:
        """The points of a polyline, in pixels."""
        return " ".join(f"{self._x(step):.1f},{self._y(value):.1f}" for step, value in points)

    def drawn(self, lines: Sequence[str], *, title: str, across: str, shown: Callable[[float], str]) -> str:
        """The whole picture.

        Args:
            lines: What is drawn over the axes, as SVG elements.
            title: Stands above it.
            across: What the horizontal axis counts.
            shown: Writes a value beside the vertical axis.
        """
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}"'
            f' height="{self.height}" font-family="sans-serif" font-size="12">',
            f'<rect width="{self.width}" height="{self.height}" rx="6" fill="#fff"/>',
            f'<text x="{LEFT}" y="22" font-size="14" fill="#222">{escape(title)}</text>',
            *self._grid(shown),
            f'<text x="{LEFT + self._wide / 2}" y="{self.height - 8}" text-anchor="middle" fill="#555">'
            f"{escape(across)}</text>",
            *lines,
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _grid(self, shown: Callable[[float], str]) -> list[str]:
        parts = []
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            step, value = self._step(share), self.low + (self.high - self.low) * share
            x, y, foot = self._x(step), self._y(value), self.height - _BOTTOM + 18
            parts += [
                f'<path d="M{LEFT} {y:.1f}H{self.width - _RIGHT}" stroke="#ddd"/>',
                f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{shown(value)}</text>',
                f'<text x="{x:.1f}" y="{foot}" text-anchor="middle" fill="#555">{round(step):,}</text>',
            ]
        return parts

    @property
    def _wide(self) -> int:
        return self.width - LEFT - _RIGHT

    def _step(self, share: float) -> float:
        """What lies at a share of the axis across."""
        if self.logarithmic:
            return self.first * math.pow(self.last / self.first, share)
        return self.first + (self.last - self.first) * share

    def _along(self, step: float) -> float:
        return math.log(step) if self.logarithmic else step

    def _x(self, step: float) -> float:
        first, last = self._along(self.first), self._along(self.last)
        return LEFT + self._wide * (self._along(step) - first) / ((last - first) or 1.0)

    def _y(self, value: float) -> float:
        return self.top + (self.height - self.top - _BOTTOM) * (1 - (value - self.low) / (self.high - self.low))
