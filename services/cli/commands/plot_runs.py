"""`tandem plot loss`: the loss of runs, in the terminal, as SVG or as CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from services.cli.client import Client
from services.cli.client.views import Run
from services.cli.commands.options import Json, RunNames, write_text
from services.cli.plots.chart import Curve, csv_chart, svg_chart, text_chart
from services.cli.plots.curves import loss_curves
from services.cli.session import Session, find_run
from shared.errors import InputError

Output = Annotated[Path | None, typer.Option(help="Write it to this file: .svg or .csv.")]


def plot_loss(
    context: typer.Context,
    runs: RunNames,
    *,
    points: Annotated[int, typer.Option(min=2, max=100_000, help="About how many points of each curve at most.")] = 500,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Plot the loss of runs over their steps: raw and smoothed, of several runs smoothed only."""
    session: Session = context.obj
    if output is not None and output.suffix not in {".svg", ".csv"}:
        raise InputError("is neither .svg nor .csv", where=f"--output {output}")
    with session.client() as client:
        found = [find_run(client, name) for name in runs or []]
        several = len(found) > 1
        curves = [curve for run in found for curve in _curves(client, run, points, several=several)]
    title = f"loss of {', '.join(run.id for run in found)}"
    if output is not None:
        write_text(output, csv_chart(curves) if output.suffix == ".csv" else svg_chart(curves, title=title))
        session.tell(f"wrote {output}")
    if as_json:
        session.show_json([_values(curve) for curve in curves])
    elif output is None:
        _draw(session, title, curves)


def _curves(client: Client, run: Run, points: int, *, several: bool) -> list[Curve]:
    series = client.series(run.id, points=points)
    return loss_curves(series, prefix=f"{run.id} ")[1:] if several else loss_curves(series)


def _values(curve: Curve) -> dict[str, object]:
    return {
        "name": curve.name,
        "step": [step for step, _ in curve.points],
        "value": [value for _, value in curve.points],
    }


def _draw(session: Session, title: str, curves: Sequence[Curve]) -> None:
    session.show(title)
    for line in text_chart(curves):
        session.console.print(line, soft_wrap=True)
