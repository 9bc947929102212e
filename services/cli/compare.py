"""Runs beside each other: the settings in which they differ, and the figures that came of them. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from services.cli.client.views import Evaluation, Run
from services.cli.output import UNKNOWN, duration, figure, figures_of

_NOT_SETTINGS = ("name", "labels", "schema_version")


def comparison(runs: Sequence[Run]) -> dict[str, Any]:
    """The comparison for programs: ids, differing settings by their path, and figures; a value per run in each list."""
    return {
        "runs": [run.id for run in runs],
        "settings": different_settings(runs),
        "state": [run.state for run in runs],
        "step": [run.step for run in runs],
        "average_loss": [run.average_loss for run in runs],
        "examples_per_second": [run.examples_per_second for run in runs],
        "wall_seconds": [run.wall_seconds for run in runs],
        "best": [None if run.best is None else run.best.model_dump(mode="json") for run in runs],
    }


def comparison_table(runs: Sequence[Run]) -> Table:
    """The comparison for people: a column per run, the best precision marked."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for run in runs:
        table.add_column(run.id, overflow="fold")
    for path, values in different_settings(runs).items():
        table.add_row(path, *(UNKNOWN if value is None else str(value) for value in values))
    table.add_row("state", *(run.state for run in runs))
    table.add_row("step", *(f"{run.step:,} of {run.steps:,}" for run in runs))
    table.add_row("averaged loss", *(figure(run.average_loss) for run in runs))
    table.add_row("trained for", *(duration(run.wall_seconds) for run in runs))
    greatest = max((_precision(run.best) for run in runs), default=0.0)
    table.add_row(
        "best precision at 1",
        *(_best(run.best) + (" *" if run.best and _precision(run.best) == greatest else "") for run in runs),
    )
    return table


def different_settings(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The values, one per run, of each setting that is not the same in all; None where a run has no such setting."""
    flat = [dict(_flat(run.spec)) for run in runs]
    paths = sorted({path for values in flat for path in values if path.split(".")[0] not in _NOT_SETTINGS})
    found = {path: [values.get(path) for values in flat] for path in paths}
    return {path: values for path, values in found.items() if any(value != values[0] for value in values)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _precision(best: Evaluation | None) -> float:
    return 0.0 if best is None or best.precision_at_1 is None else best.precision_at_1


def _best(best: Evaluation | None) -> str:
    return UNKNOWN if best is None else f"{figures_of(best)} @ {best.step:,}"
