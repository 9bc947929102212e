"""Puts runs that have settled away, all but the newest, so that thousands of them cost a gateway next to nothing."""

import hashlib
import json
import sys

from services.gateway.index import Run
from services.gateway.index.shelf import Shelved
from services.gateway.steering.parts import SteeringParts
from services.gateway.steering.situation import Situation
from services.gateway.views import RunView, run_view
from shared import observe
from shared.spec import RunSpec
from shared.states import SETTLED

AWAKE = 100


def maker(price_per_hour: float | None) -> str:
    """What views are made by: with another one, those that an earlier gateway has kept are worth nothing."""
    shapes = [RunView.model_json_schema(), RunSpec.model_json_schema()]
    digest = hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()
    return f"{observe.version()} {digest[:16]} {price_per_hour}"


class Shelver:
    """Looks which runs rest. Called at the end of each step of the reconcile loop, under its lock.

    Args:
        parts: What it shares with those who steer.
        awake: How many of the settled runs, the newest, are held whole all the same.
    """

    def __init__(self, *, parts: SteeringParts, awake: int = AWAKE) -> None:
        self._parts = parts
        self._awake = awake

    def step(self) -> None:
        """Puts away what rests."""
        situations = self._parts.runs.awake()
        settled = [each for each in situations if each.state.state in SETTLED]
        if len(settled) > self._awake:
            assigned = {slot.assignment.run for slot in self._parts.slots.now if slot.assignment is not None}
            for each in settled[: len(settled) - self._awake]:
                if each.run.id not in assigned and self._rests(each):
                    self._parts.index.shelve(each.run.id, self._described)
        awake = {each.run.id for each in situations}
        self._parts.runs.keep(awake)
        self._parts.journal.keep(awake)

    def _described(self, run: Run, mark: str) -> Shelved | None:
        situation = self._parts.runs.of(run)
        if not self._rests(situation):
            return None
        return Shelved(
            id=run.id,
            created=run.created,
            name=sys.intern(run.spec.name),
            state_name=situation.state_name,
            labels=run.labels,
            key=None if run.origin is None else run.origin.key,
            mark=mark,
            journal=_size(run),
            judged=frozenset((each.step, each.kind) for each in run.verdicts),
            view=run_view(situation).model_dump_json().encode(),
        )

    def _rests(self, situation: Situation) -> bool:
        """Whether nothing more happens to it without a new file, and all that happened is written down."""
        history = self._parts.journal.history(situation.run.id)
        return (
            situation.state.state in SETTLED
            and situation.slot is None
            and "delete" in situation.allowed
            and history.state == situation.state.state
            and history.told >= (-1 if situation.run.desired is None else situation.run.generation)
        )


def _size(run: Run) -> int:
    try:
        return run.folder.gateway_events.stat().st_size
    except OSError:
        return 0
