"""Decides what `tandem up` trains: which recipe, on which data, with which changes. Nothing is started here.

CIFAR-10 is taken where it is at hand (named by the user, named by TANDEM_CIFAR10_DIR, or on the volume), then fetched;
where neither works one line says so and the built-in `shapes` take its place. Only `tandem up` does that: a run that is
started by the API never falls back.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shared import recipes
from shared.errors import DatasetMissingError, DownloadError
from shared.recipes import load_recipe
from shared.spec import DatasetSpec, RunSpec, overlay, parse_spec

DEFAULT = "cifar10"
DEFAULT_ON_GPU = "cifar10-best"  # which takes two processors more than an hour
FALLBACK = "shapes"
RECIPE_FILES = (".yaml", ".yml")


@dataclass(frozen=True)
class Plan:
    """What to ask the gateway for.

    `recipe` and `changes` are the body of the request, `spec` is what comes of them. `note` is a line for the user
    where something else is trained than they may expect.
    """

    recipe: str | None
    changes: dict[str, Any]
    spec: RunSpec
    note: str | None = None


class Planner:
    """Makes plans.

    Args:
        check: Opens a data set; raises DatasetError where that does not work, DatasetMissingError where it is absent.
        fetch: Downloads CIFAR-10 to the volume, or raises DownloadError.
        cifar10: The folder that TANDEM_CIFAR10_DIR names, if it does.
        gpu: Whether there is a GPU to train on; it decides what is trained where no recipe is named.
    """

    def __init__(
        self,
        *,
        check: Callable[[DatasetSpec], object],
        fetch: Callable[[], object],
        cifar10: Path | None,
        gpu: bool = False,
    ) -> None:
        self._check = check
        self._fetch = fetch
        self._cifar10 = cifar10
        self._default = DEFAULT_ON_GPU if gpu else DEFAULT

    def plan(self, *, recipe: str | None, data: Path | None, steps: int | None) -> Plan:
        """What to train.

        Args:
            recipe: A recipe's name, or the path of a YAML file; None for the default.
            data: Where the data set's files are; None to look for them.
            steps: How many steps, instead of the recipe's.

        Raises:
            SpecError: The recipe or a change of it is wrong; names the field.
            NotFoundError: There is no such recipe.
            DatasetError: The data is there and not usable, or was named and is not there.
        """
        changes: dict[str, Any] = {} if steps is None else {"steps": steps}
        named = recipe or self._default
        plan = _plan(named, changes)
        path = data
        if path is None and plan.spec.dataset.kind == "cifar10" and plan.spec.dataset.path is None:
            path = self._cifar10
        if path is not None:
            plan = _plan(named, overlay(changes, {"dataset": {"path": str(path.expanduser().absolute())}}))
        try:
            self._check(plan.spec.dataset)
        except DatasetMissingError:
            if plan.spec.dataset.kind != "cifar10" or plan.spec.dataset.path is not None:
                raise
        else:
            return plan
        try:
            self._fetch()
        except DownloadError as error:
            return _fallback(recipe, changes, why=error)
        self._check(plan.spec.dataset)
        return plan


def _plan(recipe: str, changes: dict[str, Any]) -> Plan:
    if recipe.endswith(RECIPE_FILES):  # the gateway knows recipes by name alone, so a file is sent whole
        changes = overlay(load_recipe(Path(recipe)), changes)
        return Plan(recipe=None, changes=changes, spec=parse_spec(changes, source=recipe))
    return Plan(recipe=recipe, changes=changes, spec=parse_spec(overlay(recipes.load(recipe), changes), source=recipe))


def _fallback(recipe: str | None, changes: dict[str, Any], *, why: DownloadError) -> Plan:
    note = f"CIFAR-10 is not at hand and could not be fetched ({why.message}); training on the built-in shapes instead."
    if recipe is None:
        return replace(_plan(FALLBACK, changes), note=note)
    # The user's recipe stays, and the run's name says that its pictures are others.
    name = f"{_plan(recipe, changes).spec.name[:41]}-{FALLBACK}"
    return replace(_plan(recipe, overlay(changes, {"name": name, "dataset": {"kind": FALLBACK}})), note=note)
