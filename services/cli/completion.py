"""What the shell completes after Tab: runs, states, recipes. Asks the gateway; without one nothing is offered."""

import typer

from services.cli.session import Session
from shared.errors import TandemError
from shared.states import STATES


def complete_run(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Ids and names of runs that begin so, the newest first, each with its state."""
    session = context.find_root().obj
    if not isinstance(session, Session):
        return []
    try:
        with session.client() as client:
            runs = list(reversed(client.runs(limit=100)))
    except TandemError:
        return []
    offered = {"last": "the newest run"} | {run.name: "the newest of this name" for run in runs}
    offered |= {run.id: run.state for run in runs}
    return [(name, help_) for name, help_ in offered.items() if name.startswith(incomplete)]


def complete_recipe(context: typer.Context, incomplete: str) -> list[str]:
    """Recipes that begin so."""
    session = context.find_root().obj
    if not isinstance(session, Session):
        return []
    try:
        with session.client() as client:
            return [name for name in client.recipes() if name.startswith(incomplete)]
    except TandemError:
        return []


def complete_state(incomplete: str) -> list[str]:
    """States that begin so."""
    return [state for state in STATES if state.startswith(incomplete)]
