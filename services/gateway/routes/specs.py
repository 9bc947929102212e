"""`/v1/specs`: what a specification may say, and whether one is right, without starting anything."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.gateway import errors
from services.gateway.access.scopes import needs
from services.gateway.parts import NeedsParts, NeedsRuns
from services.gateway.routes.runs import looks_like
from shared import layout, recipes
from shared.spec import Changes, RunSpec, overlay

routes = APIRouter(prefix="/v1", tags=["specs"])


class CheckRequest(BaseModel):
    """What a run would be started with: a recipe, or a run that is to be forked, and what is to be different."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"recipe": "shapes", "spec": {"steps": 0}}})

    recipe: str | None = Field(default=None, description="a name of GET /v1/recipes; null: the defaults")
    run: Annotated[str, Field(json_schema_extra=looks_like(layout.RUN_ID.pattern))] | None = Field(
        default=None, description="a run whose specification comes first, as in a fork"
    )
    spec: Changes = Field(default_factory=dict, description="keys of a RunSpec, laid over that")


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="its path, joined by dots; empty: the whole", examples=["learning_rate.rate"])
    message: str


class CheckView(BaseModel):
    """Whether a specification is right."""

    problems: list[FieldProblem]
    spec: dict[str, Any] | None = Field(description="the whole of it, with all defaults; null if there are problems")


@routes.get("/specs/schema", responses=errors.documented())
@needs("read")
async def show_schema() -> dict[str, Any]:
    """The JSON schema of a RunSpec: every key, its type, its limits and its default."""
    return RunSpec.model_json_schema()


@routes.post("/specs:check", responses=errors.documented(404))
@needs("read")
def check_spec(body: CheckRequest, parts: NeedsParts, runs: NeedsRuns) -> CheckView:
    """Checks a specification as starting a run would, field by field; starts nothing, and looks for no data set."""
    below = {} if body.run is None else runs.show(body.run).run.spec.model_dump(mode="json")
    if body.recipe is not None:
        below = overlay(below, recipes.load(body.recipe, parts.recipes_folder))
    values = overlay(below, body.spec)
    try:
        return CheckView(problems=[], spec=RunSpec.model_validate(values).model_dump(mode="json"))
    except ValidationError as error:
        problems = [
            FieldProblem(
                field=_path(item["loc"], values),
                message="unknown key"
                if item["type"] == "extra_forbidden"
                else item["msg"].removeprefix("Value error, "),
            )
            for item in error.errors(include_url=False)
        ]
        return CheckView(problems=problems, spec=None)


def _path(loc: tuple[int | str, ...], values: Any) -> str:
    """Where it stands in the values. Pydantic also names the kind that a union was taken for, which is no key."""
    parts = []
    for place, part in enumerate(loc):
        if isinstance(values, dict) and part not in values and place < len(loc) - 1:
            continue
        parts.append(str(part))
        values = values.get(part) if isinstance(values, dict) else None
    return ".".join(parts)
