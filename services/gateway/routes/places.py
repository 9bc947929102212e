"""What there is to train, and where: `/v1/recipes` and `/v1/slots`."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from services.gateway import errors
from services.gateway.access.scopes import needs
from services.gateway.parts import NeedsParts, NeedsRuns
from services.gateway.steering.slots import Slot
from services.gateway.views import SlotsView, SlotView
from shared import recipes
from shared.errors import TandemError

routes = APIRouter(prefix="/v1", tags=["places"])


class RecipeView(BaseModel):
    """One recipe."""

    name: str = Field(examples=["shapes"])
    values: dict[str, Any] = Field(description="the keys of a RunSpec that it sets")
    problem: str | None = Field(default=None, description="why it cannot be used")


class RecipesView(BaseModel):
    """All recipes, by name."""

    recipes: list[RecipeView]


@routes.get("/recipes", responses=errors.documented())
@needs("read")
def list_recipes(parts: NeedsParts) -> RecipesView:
    """The recipes that a run can begin from."""
    return RecipesView(recipes=[_recipe(name, parts) for name in recipes.recipe_names(parts.recipes_folder)])


@routes.get("/slots", responses=errors.documented())
@needs("read")
def list_slots(parts: NeedsParts, runs: NeedsRuns) -> SlotsView:
    """The places where a trainer can run, and what is in each."""
    kept = {each.slot: each.run.id for each in runs.awake() if each.slot is not None}
    return SlotsView(slots=[_slot(slot, kept.get(slot.name)) for slot in parts.slots.now])


def _recipe(name: str, parts: NeedsParts) -> RecipeView:
    try:
        return RecipeView(name=name, values=recipes.load(name, parts.recipes_folder))
    except TandemError as error:
        return RecipeView(name=name, values={}, problem=str(error))


def _slot(slot: Slot, run: str | None) -> SlotView:
    if slot.problem is not None:
        state = "broken"
    elif slot.seen.alive:
        state = "busy"
    else:
        state = "free" if run is None else "kept"
    return SlotView(
        name=slot.name,
        state=state,
        run=run,
        pid=slot.seen.pid,
        devices=None if slot.record is None else list(slot.record.devices),
        problem=slot.problem,
    )
