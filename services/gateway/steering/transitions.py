"""What may be asked of a run in which state. Pure: no I/O, no clock.

| asked | means | from |
| --- | --- | --- |
| pause | stand still: `hold` in memory, or `release` the slot after a checkpoint | all that are to train, pausing |
| resume | train on | pausing, paused |
| extend | `resume` with more steps | all but stopping, stopped and failed |
| stop | end for good, with a last checkpoint | all that have not ended |
| kill | end for good, now, without one | all that have not ended |
| restart | go on from the newest checkpoint, with a new budget of restarts | stopped, failed |
| fork | begin another run with one of its checkpoints | all that have a checkpoint |
| delete | remove all of it | stopped, failed, completed, once no trainer is there any more |
"""

from collections.abc import Mapping
from typing import Literal, get_args

from services.gateway.index import Run
from shared.errors import ConflictError
from shared.states import SETTLED, State
from shared.steps import extensible

Transition = Literal["pause", "resume", "extend", "stop", "kill", "restart", "fork", "delete"]
TRANSITIONS: tuple[Transition, ...] = get_args(Transition)

_FROM: Mapping[Transition, frozenset[State]] = {
    "pause": frozenset({"queued", "starting", "running", "evaluating", "restarting", "pausing"}),
    "resume": frozenset({"pausing", "paused"}),
    "extend": frozenset(
        {"queued", "starting", "running", "evaluating", "restarting", "pausing", "paused", "completed"}
    ),
    "stop": frozenset({"queued", "starting", "running", "evaluating", "restarting", "pausing", "paused"}),
    "kill": frozenset({"queued", "starting", "running", "evaluating", "restarting", "pausing", "paused", "stopping"}),
    "restart": frozenset({"stopped", "failed"}),
    "delete": SETTLED,
}
# Where asking again is no mistake and changes nothing.
_DONE: Mapping[Transition, frozenset[State]] = {
    "pause": frozenset({"paused"}),
    "resume": frozenset({"queued", "starting", "running", "evaluating", "restarting"}),
    "stop": frozenset({"stopping", "stopped"}),
    "kill": frozenset({"stopped"}),
    "restart": frozenset({"queued", "starting", "running", "evaluating", "restarting"}),
}
_PARTICIPLES: Mapping[Transition, str] = {
    "pause": "paused",
    "resume": "resumed",
    "extend": "extended",
    "stop": "stopped",
    "kill": "killed",
    "restart": "restarted",
    "fork": "forked",
    "delete": "deleted",
}


def allowed(run: Run, state: State, *, alive: bool) -> tuple[Transition, ...]:
    """What may be asked of a run.

    Args:
        run: The run.
        state: The state that it is in.
        alive: Whether a trainer works on it.
    """
    return tuple(each for each in TRANSITIONS if _may(each, run, state, alive=alive))


def is_done(asked: Transition, state: State) -> bool:
    """Whether asking for this changes nothing, because the run is there or on its way already."""
    return state in _DONE.get(asked, frozenset())


def refusal(asked: Transition, run: Run, state: State, reason: str, *, now: tuple[Transition, ...]) -> ConflictError:
    """The error that says why this cannot be asked, and what can."""
    is_so = "has" if state in {"completed", "failed"} else "is"
    return ConflictError(
        f"run {run.id} {is_so} {state} and cannot be {_PARTICIPLES[asked]}",
        where="run",
        hint=f"{reason}. Allowed now: {', '.join(now) or 'nothing'}",
    )


def _may(asked: Transition, run: Run, state: State, *, alive: bool) -> bool:
    if asked == "fork":
        return run.checkpoint_step is not None
    if asked == "extend" and not extensible(run.spec):
        return False
    return state in _FROM[asked] and not (asked in {"delete", "restart"} and alive)
