"""Starting runs: from a recipe, or from a checkpoint of another run. What follows is `control`'s."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.gateway.steering.making import Key, Plan, RunMaker, forked, made_before
from services.gateway.steering.parts import SteeringParts
from services.gateway.steering.situation import Situation
from shared import atomic, recipes
from shared.errors import SpecError, VolumeError
from shared.layout import Volume
from shared.spec import DatasetSpec, RunSpec, overlay, parse_spec


class RunStarter:
    """Starts runs, which then wait for a slot.

    Args:
        parts: What it shares with the others who steer.
        volume: Where they go.
        recipes_folder: Where the recipes lie.
        check_dataset: Raises DatasetError unless a data set is at hand.
        price_per_hour: Of a slot, in whatever currency; None if it is not known.
    """

    def __init__(
        self,
        *,
        parts: SteeringParts,
        volume: Volume,
        recipes_folder: Path,
        check_dataset: Callable[[DatasetSpec], None],
        price_per_hour: float | None = None,
    ) -> None:
        self._parts = parts
        self._volume = volume
        self._recipes_folder = recipes_folder
        self._check_dataset = check_dataset
        self._price = price_per_hour
        self._maker = RunMaker(volume=volume, clock=parts.time)

    def start(
        self, *, recipe: str | None, changes: dict[str, Any], priority: int = 0, key: Key | None = None
    ) -> Situation:
        """Makes a run, which begins as soon as a slot is free.

        Args:
            recipe: The name of the recipe to begin from; None: the defaults.
            changes: Laid over it, mappings merged key by key.
            priority: Of runs that wait the greatest goes first.
            key: Where a request with it has made a run already, that one is shown.

        Raises:
            NotFoundError: There is no such recipe.
            SpecError: The specification is wrong; `where` names the field.
            DatasetError: Its data set is not at hand.
            ConflictError: The key was used to ask for something else.
            UnavailableError: What runs trainers is away; no run was made.
        """

        def plan() -> Plan:
            below = {} if recipe is None else recipes.load(recipe, self._recipes_folder)
            return Plan(spec=self._checked(overlay(below, changes)), priority=priority, recipe=recipe, key=key)

        return self._make(plan, key)

    def fork(
        self,
        run_id: str,
        *,
        step: int | None,
        recipe: str | None,
        changes: dict[str, Any],
        priority: int = 0,
        key: Key | None = None,
    ) -> Situation:
        """Makes a run that begins with a checkpoint of another one, at that checkpoint's step.

        Args:
            run_id: The other run.
            step: Of its checkpoint; None: the newest.
            recipe: The recipe to take the specification from; None: that of the other run.
            changes: Laid over it.
            priority: As in `start`.
            key: As in `start`.

        Raises:
            NotFoundError: There is no such run, checkpoint or recipe.
            SpecError: The specification is wrong, or cannot begin with these weights.
            ConflictError: There is no checkpoint at all, or the key was used to ask for something else.
            DatasetError, UnavailableError: As in `start`.
        """

        def plan() -> Plan:
            now = self._parts.runs.show(run_id)
            now.require("fork")
            parent = now.run
            below = {**parent.spec.model_dump(mode="json"), "steps": parent.steps}
            if recipe is not None:
                below = recipes.load(recipe, self._recipes_folder)
            made = forked(parent, step=step, below=overlay(below, changes), parse=self._checked)
            return replace(made, priority=priority, recipe=recipe, key=key)

        return self._make(plan, key)

    def why_not_ready(self) -> str | None:
        """Why runs cannot be made, or None if they can."""
        try:
            atomic.probe_writable(self._volume.runs)
        except VolumeError as error:
            return str(error)
        return None

    def _make(self, plan: Callable[[], Plan], key: Key | None) -> Situation:
        with self._parts.lock:
            if key is not None:
                self._parts.runs.require_all()
            before = None if key is None else made_before(self._parts.index.with_key(key.text), key)
            if before is not None:
                return self._parts.runs.show(before.id)
            planned = plan()
            self._parts.slots.check()
            run_id = self._maker.make(planned)
            self._parts.journal.write(run_id, "created", "was asked for", recipe=planned.recipe)
        self._parts.wake()
        return self._parts.runs.show(run_id)

    def _checked(self, values: dict[str, Any]) -> RunSpec:
        spec = parse_spec(values, source="spec")
        if spec.until.cost is not None and self._price is None:
            raise SpecError(
                "this gateway knows no price",
                where="spec: until.cost",
                hint="Set TANDEM_GATEWAY_PRICE_PER_HOUR, or leave it out",
            )
        self._check_dataset(spec.dataset)
        return spec
