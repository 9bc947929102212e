"""`/v1/runs`: start, list and show runs, and ask something of one."""

import json
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.json_schema import SkipJsonSchema

from services.gateway import errors
from services.gateway.access.scopes import needs
from services.gateway.convertors import NAME
from services.gateway.listing import CURSOR, LONGEST_PAGE, PAGE, Filter, page
from services.gateway.parts import NeedsControl, NeedsRuns, NeedsStarter, NeedsViews
from services.gateway.steering.making import Key
from services.gateway.steering.situations import Situations
from services.gateway.views import RUN_ID, ProblemView, RunsView, RunView, run_view
from shared import layout
from shared.spec import Changes
from shared.states import STATES

ONE = f"/{{run:{NAME}}}"

routes = APIRouter(prefix="/v1/runs", tags=["runs"])


# What OpenAPI says of a text that is checked further in, where the error can say more than that a pattern does not fit.
def looks_like(pattern: str) -> dict[str, JsonValue]:
    """The JSON schema of a text of this pattern."""
    return {"pattern": f"^({pattern})$"}


RunId = Annotated[
    str, Path(description="the run's id", examples=[RUN_ID], json_schema_extra=looks_like(layout.RUN_ID.pattern))
]
StateNames = Annotated[
    str, Field(max_length=200, json_schema_extra=looks_like(f"({'|'.join(STATES)})(,({'|'.join(STATES)}))*"))
]
Steps = Annotated[int, Field(ge=1, le=10**12)]
Priority = Annotated[int, Field(ge=-1_000_000, le=1_000_000, description="of runs that wait, the greatest goes first")]
Name = Annotated[str, Field(max_length=200)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="a request that is sent again with the same key and body answers with the run that was made first",
    ),
]


class RunRequest(BaseModel):
    """What to train: a recipe, and what is to be different."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"recipe": "shapes", "spec": {"steps": 500, "seed": 1}}}
    )

    recipe: str | None = Field(default=None, description="a name of GET /v1/recipes; null: the defaults")
    spec: Changes = Field(default_factory=dict, description="keys of a RunSpec, laid over the recipe")
    priority: Priority = 0


class ForkRequest(BaseModel):
    """What is to begin with a checkpoint, and what is to be different."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"step": 300, "spec": {"steps": 2000, "optimizer": {"momentum": 0.5}}}},
    )

    step: Annotated[int, Field(ge=0, le=10**15)] | None = Field(
        default=None, description="of the checkpoint; null: the newest"
    )
    recipe: str | None = Field(default=None, description="a name of GET /v1/recipes; null: the run's own specification")
    spec: Changes = Field(default_factory=dict, description="keys of a RunSpec, laid over that")
    priority: Priority = 0


class ListQuery(BaseModel):
    """Which runs are listed."""

    state: list[StateNames] = Field(default=[], description="only runs in one of these states, joined by commas")
    label: list[Name] = Field(default=[], description="only runs with this label: `key=value`, or `key`")
    name: Name | SkipJsonSchema[None] = Field(default=None, description="only runs of this name")
    limit: int = Field(default=PAGE, ge=1, le=LONGEST_PAGE, description="only so many, the newest")
    cursor: Annotated[str, Field(max_length=200, json_schema_extra=looks_like(CURSOR))] | SkipJsonSchema[None] = Field(
        default=None, description="`next` of an earlier page"
    )


class Asked(BaseModel):
    """Something that is asked of a run."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500, description="why; it stands in the run's events")


class PauseRequest(Asked):
    """How a run is to stand still."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"kind": "release"}})

    kind: Literal["hold", "release"] = Field(
        default="release", description="hold: stay in memory, in its slot; release: checkpoint, and free the slot"
    )


class ResumeRequest(Asked):
    """How a run is to go on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"steps": 2000}})

    steps: Steps | None = Field(default=None, description="how many it is to make in all, to make more than before")
    spec: Changes = Field(
        default_factory=dict, description="what its specification is taken to be; refused if it is another one"
    )


class Tagging(BaseModel):
    """What is to be different about a run, without touching what it computes."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"priority": 10, "labels": {"owner": "me"}}}
    )

    priority: Priority | None = None
    labels: dict[Name, Name | None] | None = Field(
        default=None, description="laid over those it has; null takes one away"
    )


@routes.post("", status_code=201, responses=errors.documented(404, 409, 503))
@needs("control", what="start")
def start_run(body: RunRequest, starter: NeedsStarter, response: Response, key: IdempotencyKey = None) -> RunView:
    """Starts a run. It begins as soon as a slot is free; until then it is queued."""
    asked = Key.of(key, "start", body.model_dump(mode="json"))
    situation = starter.start(recipe=body.recipe, changes=body.spec, priority=body.priority, key=asked)
    response.headers["Location"] = f"/v1/runs/{situation.run.id}"
    return run_view(situation)


@routes.get("", response_model=RunsView, responses=errors.documented())
@needs("read")
def list_runs(runs: NeedsRuns, views: NeedsViews, asked: Annotated[ListQuery, Query()]) -> Response:
    """A page of runs, oldest first: the newest, or with `cursor` those before an earlier page."""
    which = Filter.parse(states=asked.state, labels=asked.label, name=asked.name)
    chosen = page(*runs.listed(), which=which, limit=asked.limit, cursor=asked.cursor)
    # Joined from views that are encoded once: a volume may hold thousands of runs.
    encoded = b",".join(views.encoded(each) for each in chosen.runs)
    following = json.dumps(chosen.next).encode()
    return Response(
        b'{"runs":['
        + encoded
        + b'],"next":'
        + following
        + b',"unread":%d,"problems":' % runs.unread
        + _problems(runs)
        + b"}",
        media_type="application/json",
    )


@routes.get(ONE, responses=errors.documented(404))
@needs("read")
def show_run(run: RunId, runs: NeedsRuns) -> RunView:
    """One run, as it is now."""
    return run_view(runs.show(run))


@routes.patch(ONE, responses=errors.documented(404, 503))
@needs("control", what="tag")
def tag_run(run: RunId, body: Tagging, control: NeedsControl) -> RunView:
    """Changes a run's priority or labels. Neither touches what it computes."""
    return run_view(control.tag(run, priority=body.priority, labels=body.labels))


@routes.delete(ONE, status_code=204, responses=errors.documented(404, 409, 503))
@needs("control", what="delete")
def delete_run(run: RunId, control: NeedsControl) -> None:
    """Removes a run that has ended, with everything that it made."""
    control.delete(run)


@routes.post("/{run}:pause", status_code=202, responses=errors.documented(404, 409, 503))
@needs("control", what="pause")
def pause_run(run: RunId, control: NeedsControl, body: PauseRequest | None = None) -> RunView:
    """Asks a run to stand still at the end of a step, in its slot or without one."""
    asked = body or PauseRequest()
    return run_view(control.pause(run, kind=asked.kind, reason=asked.reason))


@routes.post("/{run}:resume", status_code=202, responses=errors.documented(404, 409, 503))
@needs("control", what="resume")
def resume_run(run: RunId, control: NeedsControl, body: ResumeRequest | None = None) -> RunView:
    """Asks a paused run to train on; with `steps`, any run that has not been stopped to make more than it was to."""
    asked = body or ResumeRequest()
    return run_view(control.resume(run, steps=asked.steps, changes=asked.spec, reason=asked.reason))


@routes.post("/{run}:stop", status_code=202, responses=errors.documented(404, 409, 503))
@needs("control", what="stop")
def stop_run(run: RunId, control: NeedsControl, body: Asked | None = None) -> RunView:
    """Asks a run to commit a last checkpoint and to end for good. Asking again changes nothing."""
    return run_view(control.stop(run, reason=(body or Asked()).reason))


@routes.post("/{run}:kill", status_code=202, responses=errors.documented(404, 409, 503))
@needs("control", what="kill")
def kill_run(run: RunId, control: NeedsControl, body: Asked | None = None) -> RunView:
    """Ends a run for good, at once: the steps since its last checkpoint are lost."""
    return run_view(control.kill(run, reason=(body or Asked()).reason))


@routes.post("/{run}:restart", status_code=202, responses=errors.documented(404, 409, 503))
@needs("control", what="restart")
def restart_run(run: RunId, control: NeedsControl, body: Asked | None = None) -> RunView:
    """Has a run that was stopped or has failed go on from its newest checkpoint, with a new budget of restarts."""
    return run_view(control.restart(run, reason=(body or Asked()).reason))


@routes.post("/{run}:fork", status_code=201, responses=errors.documented(404, 409, 503))
@needs("control", what="fork")
def fork_run(
    run: RunId, starter: NeedsStarter, response: Response, body: ForkRequest | None = None, key: IdempotencyKey = None
) -> RunView:
    """Starts a run that begins with a checkpoint of this one, at its step: weights, averages and optimizer."""
    given = body or ForkRequest()
    situation = starter.fork(
        run,
        step=given.step,
        recipe=given.recipe,
        changes=given.spec,
        priority=given.priority,
        key=Key.of(key, "fork", run, given.model_dump(mode="json")),
    )
    response.headers["Location"] = f"/v1/runs/{situation.run.id}"
    return run_view(situation)


def _problems(runs: Situations) -> bytes:
    views = [ProblemView(run=run, **error.as_json()) for run, error in sorted(runs.problems().items())]
    return b"[" + b",".join(view.model_dump_json().encode() for view in views) + b"]"
