"""The precision of each kind of weights of a run: as curves, and as mean and spread over its last checkpoints. Pure."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from services.cli.client.views import Evaluation
from services.cli.output import figure

Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class Steadiness:
    """What the last checkpoints of a run say of one kind of weights.

    Attributes:
        weights: The kind, as the volume names it.
        checkpoints: How many were looked at.
        mean: Of their precision at 1.
        deviation: The sample's standard deviation of it; 0 for one checkpoint.
        least: The worst of them.
        greatest: The best of them.
    """

    weights: str
    checkpoints: int
    mean: float
    deviation: float
    least: float
    greatest: float

    @classmethod
    def of(cls, weights: str, values: Sequence[float]) -> "Steadiness":
        """What these precisions, of which there is at least one, say."""
        return cls(
            weights=weights,
            checkpoints=len(values),
            mean=statistics.fmean(values),
            deviation=statistics.stdev(values) if len(values) > 1 else 0.0,
            least=min(values),
            greatest=max(values),
        )

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def precision_curves(evaluations: Iterable[Evaluation]) -> dict[str, Curve]:
    """Step and precision at 1 of everything that was judged: raw first, then the averages, longest memory last."""
    curves: dict[str, Curve] = {}
    for each in sorted(evaluations, key=lambda item: (item.decay or 0.0, item.step)):
        if each.precision_at_1 is not None:
            curves.setdefault(each.kind, []).append((each.step, each.precision_at_1))
    return curves


def steadiness(curves: Mapping[str, Curve], *, last: int) -> list[Steadiness]:
    """Mean and spread of each curve over its last so many checkpoints."""
    return [Steadiness.of(kind, [value for _, value in curve[-last:]]) for kind, curve in curves.items()]


def steadiness_table(found: Iterable[Steadiness]) -> Table:
    """The same for people."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("weights", "checkpoints", "mean", "deviation", "least", "greatest"):
        table.add_column(name, justify="left" if name == "weights" else "right")
    for each in found:
        values = (figure(value, 4) for value in (each.mean, each.deviation, each.least, each.greatest))
        table.add_row(each.weights, str(each.checkpoints), *values)
    return table
