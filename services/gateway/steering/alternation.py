"""Whose turn it is in the slot of a run that alternates, and how an evaluator's turn ends. It follows from files alone.

    trainer ends as `yielded` → is the newest checkpoint judged? — no → evaluator → … — yes → trainer → …

A gateway that is killed anywhere in this circle leaves a status, a checkpoint and its verdicts behind, from which the
next one sees where the circle stands. After the last step, and after a stop, the last checkpoint gets its turn as well.
An evaluator that judges nothing (it is killed, or finds no GPU) is tried again; after `ATTEMPTS` in a row training goes
on, since a verdict can be made up for and an idle device cannot.
"""

from pathlib import Path
from typing import Any, Literal

from services.gateway.index import Run
from services.gateway.launchers.base import Observation
from services.gateway.steering.journal import History
from shared.records import Event, newest_line

ATTEMPTS = 3
TAIL_BYTES = 2**16

Task = Literal["train", "evaluate"]

_AT_REST = frozenset({"yielded", "completed", "stopped"})


def task(run: Run, history: History) -> Task:
    """What the run's slot is to do next."""
    due = (
        run.spec.alternates
        and run.status is not None
        and run.status.phase in _AT_REST
        and not is_judged(run)
        and history.turns.misses < ATTEMPTS
    )
    return "evaluate" if due else "train"


def last_turn_due(run: Run, history: History) -> bool:
    """Whether the last checkpoint of a run that has ended is still to have its turn, which nobody has called off."""
    killed = run.desired is not None and run.desired.kill
    said = run.status is not None and run.status.phase in {"completed", "stopped"}
    return said and not killed and task(run, history) == "evaluate"


def is_judged(run: Run) -> bool:
    """Whether nothing of the newest checkpoint is left to judge."""
    judged = {each.kind for each in run.verdicts if each.step == run.checkpoint_step}
    return run.checkpoint_step is None or judged >= set(run.spec.weights_kinds)


def ending(run: Run, seen: Observation, *, interrupted: bool) -> tuple[str, dict[str, Any]]:
    """How an evaluator's turn ended: in words, and as details of the event that says so.

    Args:
        run: The run, as it stands after that turn.
        seen: How the evaluator ended.
        interrupted: Whether it was asked to, because something else is wanted of the run or of the gateway.
    """
    if not is_judged(run):
        how = "is gone" if seen.exit_code is None else f"ended with {seen.exit_code}"
        left = f"left the checkpoint at step {run.checkpoint_step} unjudged"
        outcome = "released" if interrupted else "not_evaluated"
        return f"its evaluator {how} and {left}", {"outcome": outcome}
    # After its last turn a trainer has not yielded but ended for good: the newest word of that kind is an older turn's.
    yielded = run.status is not None and run.status.phase == "yielded"
    return f"the checkpoint at step {run.checkpoint_step} is judged", {
        "outcome": "evaluated",
        "training": _last_seconds(run.folder.trainer_events, "yielded") if yielded else None,
        "evaluating": _last_seconds(run.folder.evaluator_events, "turn"),
    }


def _last_seconds(path: Path, kind: str) -> float | None:
    """`seconds` of the newest event of this kind near the end of a file of events."""

    def tells(event: Event) -> bool:
        return event.kind == kind and isinstance(event.details.get("seconds"), int | float)

    event = newest_line(path, Event, within=TAIL_BYTES, where=tells)
    return None if event is None else float(event.details["seconds"])
