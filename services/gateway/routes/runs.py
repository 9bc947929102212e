"""`/v1/runs`: start, list, show and stop runs."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from services.gateway import errors
from services.gateway.control import RunControl
from services.gateway.parts import NeedsRuns, NeedsViews
from services.gateway.state import State
from services.gateway.views import RUN_ID, ProblemView, RunsView, RunView, run_view

routes = APIRouter(prefix="/v1/runs", tags=["runs"])

RunId = Annotated[str, Path(description="the run's id", examples=[RUN_ID])]


class RunRequest(BaseModel):
    """What to train: a recipe, and what is to be different."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"recipe": "shapes", "spec": {"steps": 500, "seed": 1}}}
    )

    recipe: str | None = Field(default=None, description="a name of GET /v1/recipes; null: the defaults")
    spec: dict[str, Any] = Field(default_factory=dict, description="keys of a RunSpec, laid over the recipe")


@routes.post("", status_code=201, responses=errors.documented(404, 409, 503))
def start_run(body: RunRequest, runs: NeedsRuns, response: Response) -> RunView:
    """Starts a run. It begins as soon as a slot is free; until then it is queued, oldest first."""
    situation = runs.start(recipe=body.recipe, changes=body.spec)
    response.headers["Location"] = f"/v1/runs/{situation.run.id}"
    return run_view(situation)


@routes.get("", response_model=RunsView, responses=errors.documented())
def list_runs(
    runs: NeedsRuns,
    views: NeedsViews,
    state: Annotated[list[State] | None, Query(description="only runs in one of these states")] = None,
    limit: Annotated[int | None, Query(ge=1, le=100_000, description="only so many, the newest")] = None,
) -> Response:
    """Every run, oldest first."""
    found = [each for each in runs.situations() if state is None or each.state.state in state]
    chosen = found if limit is None else found[-limit:]
    # Joined from views that are encoded once: a volume may hold thousands of runs.
    encoded = b",".join(views.encoded(each) for each in chosen)
    return Response(b'{"runs":[' + encoded + b'],"problems":' + _problems(runs) + b"}", media_type="application/json")


@routes.get("/{run}", responses=errors.documented(404))
def show_run(run: RunId, runs: NeedsRuns) -> RunView:
    """One run, as it is now."""
    return run_view(runs.show(run))


@routes.post("/{run}:stop", status_code=202, responses=errors.documented(404, 409, 503))
def stop_run(run: RunId, runs: NeedsRuns) -> RunView:
    """Asks a run to commit a last checkpoint and to end for good. Asking again changes nothing."""
    return run_view(runs.stop(run))


def _problems(runs: RunControl) -> bytes:
    views = [ProblemView(run=run, **error.as_json()) for run, error in sorted(runs.problems().items())]
    return b"[" + b",".join(view.model_dump_json().encode() for view in views) + b"]"
