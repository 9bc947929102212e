"""Run control: what people may ask of runs. It writes what is desired; the reconcile loop makes it so."""

import secrets
import threading
import time as wall
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from services.gateway.index import Index, Run
from services.gateway.journal import History, Journal
from services.gateway.slots import Slots
from services.gateway.state import SETTLED, RunState, derive
from shared import atomic, recipes
from shared.errors import ConflictError, TandemError, VolumeError
from shared.layout import Volume
from shared.records import Desired, encode_record, write_record
from shared.spec import DatasetSpec, RunSpec, overlay, parse_spec


@dataclass(frozen=True)
class Situation:
    """A run and the state it is in."""

    run: Run
    state: RunState
    slot: str | None


class RunControl:
    """Starts, shows and stops runs.

    Args:
        volume: Where the runs lie.
        index: What is known of them.
        journal: Where what was asked for is written down.
        slots: What is seen of their trainers.
        clock: Seconds since the epoch.
        lock: Held while something is changed; the reconcile loop holds it during each of its steps.
        wake: Called after a change, so that the loop need not wait for its next turn.
        recipes_folder: Where the recipes lie.
        check_dataset: Raises DatasetError unless a data set is at hand.
    """

    def __init__(
        self,
        *,
        volume: Volume,
        index: Index,
        journal: Journal,
        slots: Slots,
        clock: Callable[[], float],
        lock: threading.RLock,
        wake: Callable[[], None],
        recipes_folder: Path,
        check_dataset: Callable[[DatasetSpec], None],
    ) -> None:
        self._volume = volume
        self._index = index
        self._journal = journal
        self._slots = slots
        self._clock = clock
        self._lock = lock
        self._wake = wake
        self._recipes_folder = recipes_folder
        self._check_dataset = check_dataset
        self._settled: dict[str, tuple[Run, History, Situation]] = {}

    def start(self, *, recipe: str | None, changes: dict[str, Any]) -> Situation:
        """Makes a run, which begins as soon as a slot is free.

        Args:
            recipe: The name of the recipe to begin from; None: the defaults.
            changes: Laid over it, mappings merged key by key.

        Raises:
            NotFoundError: There is no such recipe.
            SpecError: The specification is wrong; `where` names the field.
            DatasetError: Its data set is not at hand.
            UnavailableError: What runs trainers is away; no run was made.
        """
        below = {} if recipe is None else recipes.load(recipe, self._recipes_folder)
        spec = parse_spec(overlay(below, changes), source="spec")
        self._check_dataset(spec.dataset)
        self._slots.check()
        with self._lock:
            run_id = self._fresh_id(spec)
            desired = Desired(generation=0, state="running", time=self._clock())
            # The folder gets its name when all of it is there: a run exists whole, or not at all.
            with atomic.committing(self._volume.run(run_id).root) as folder:
                folder.write("spec.json", encode_record(spec))
                folder.write("desired.json", encode_record(desired))
            self._journal.write(run_id, "created", "was asked for", recipe=recipe)
        self._wake()
        return self.show(run_id)

    def situations(self) -> list[Situation]:
        """Every readable run, oldest first."""
        return [self.situation(run) for run in self._index.runs()]

    def problems(self) -> dict[str, TandemError]:
        """The runs that cannot be read, and why."""
        return self._index.problems()

    def show(self, run_id: str) -> Situation:
        """One run, as it is now. Raises like `Index.get`."""
        return self.situation(self._index.get(run_id))

    def stop(self, run_id: str, *, reason: str = "stop was asked for") -> Situation:
        """Asks for a run to end for good, with a last checkpoint. Asking again changes nothing.

        Raises:
            NotFoundError: There is no such run.
            ConflictError: It has completed or failed, so there is nothing to stop.
            UnavailableError: What runs trainers is away; nothing was changed.
        """
        with self._lock:
            situation = self.show(run_id)
            if situation.state.state in {"completed", "failed"}:
                raise ConflictError(
                    f"run {run_id} has {situation.state.state} and cannot be stopped",
                    where="run",
                    hint=situation.state.reason,
                )
            if situation.state.state not in {"stopping", "stopped"}:
                self._want(situation.run, "stopped", reason=reason)
        self._wake()
        return self.show(run_id)

    def situation(self, run: Run) -> Situation:
        """The state of a run, by what was last seen."""
        history = self._journal.history(run.id)
        settled = self._settled.get(run.id)
        if settled is not None and settled[0] is run and settled[1] is history:
            return settled[2]
        trainer = self._slots.trainer(run, history)
        situation = Situation(run=run, state=derive(run.spec, run.desired, run.status, trainer), slot=trainer.slot)
        if situation.state.state in SETTLED and not trainer.alive:
            # Nothing more happens to it without a new file or a new event: thousands of these cost nothing.
            self._settled[run.id] = (run, history, situation)
        return situation

    def at_work(self, run: Run) -> bool:
        """Whether a run may change at any moment."""
        return self.situation(run).state.state not in SETTLED

    def why_not_ready(self) -> str | None:
        """Why runs cannot be made, or None if they can."""
        try:
            atomic.probe_writable(self._volume.runs)
        except VolumeError as error:
            return str(error)
        return None

    def _want(self, run: Run, state: Literal["running", "paused", "stopped"], *, reason: str) -> None:
        self._slots.check()
        generation = 0 if run.desired is None else run.desired.generation + 1
        desired = Desired(generation=generation, state=state, reason=reason, time=self._clock())
        write_record(run.folder.desired, desired)
        self._journal.write(run.id, "desired", reason, state=state, generation=generation)

    def _fresh_id(self, spec: RunSpec) -> str:
        moment = wall.strftime("%Y%m%d-%H%M%S", wall.gmtime(self._clock()))
        while True:
            run_id = f"{moment}-{spec.name}-{secrets.token_hex(2)}"
            if not self._volume.run(run_id).root.exists():
                return run_id
