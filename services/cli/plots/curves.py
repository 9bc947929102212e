"""The curves of runs: loss over steps, and precision of the EMA against that of the raw weights. Pure."""

from collections.abc import Sequence

from services.cli.client.views import Evaluation, Series
from services.cli.output import weights_name
from services.cli.plots.chart import Curve


def loss_curves(series: Series, *, prefix: str = "") -> list[Curve]:
    """The loss as logged, and averaged."""
    return [
        Curve(f"{prefix}loss", list(zip(series.step, series.loss, strict=False))),
        Curve(f"{prefix}averaged loss", list(zip(series.step, series.average_loss, strict=False))),
    ]


def precision_curves(evaluations: Sequence[Evaluation]) -> list[Curve]:
    """Precision at 1 of each kind of weights, EMA first; verdicts without figures are left out."""
    judged = [one for one in evaluations if one.precision_at_1 is not None]
    kinds = sorted({one.kind for one in judged}, key=lambda kind: (kind == "raw", kind))
    curves = []
    for kind in kinds:
        of_kind = sorted((one for one in judged if one.kind == kind), key=lambda one: one.step)
        name = weights_name(of_kind[0].weights, of_kind[0].decay)
        curves.append(Curve(name, [(one.step, one.precision_at_1) for one in of_kind]))
    return curves
