"""`POST /v1/runs:{transition}`: one thing asked of many runs."""

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.gateway import errors
from services.gateway.access.scopes import needs
from services.gateway.errors import ErrorView
from services.gateway.listing import Filter, Listed
from services.gateway.parts import NeedsCall, NeedsControl, NeedsRuns
from services.gateway.routes.runs import Name, StateNames, Steps
from services.gateway.steering.control import RunControl
from services.gateway.steering.situations import Situations
from shared.errors import InputError, TandemError

routes = APIRouter(prefix="/v1", tags=["runs"])

Bulk = Literal["pause", "resume", "stop", "kill", "restart", "delete"]


class FilterBody(BaseModel):
    """What runs must be; all of it. It must ask for something."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {"required": ["state"], "properties": {"state": {"minItems": 1}}},
                {"required": ["label"], "properties": {"label": {"minItems": 1}}},
                {"required": ["name"], "properties": {"name": {"type": "string"}}},
            ]
        },
    )

    state: list[StateNames] = Field(default_factory=list, description="one of these states")
    label: list[Name] | Name = Field(default_factory=list, description="these labels: `key=value`, or `key`")
    name: Name | None = None


class BulkRequest(BaseModel):
    """Which runs, and what goes with what is asked of them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"filter": {"state": ["queued"], "label": "sweep=3"}},
            "oneOf": [
                {"required": ["runs"], "properties": {"runs": {"type": "array"}, "filter": {"type": "null"}}},
                {"required": ["filter"], "properties": {"filter": {"type": "object"}, "runs": {"type": "null"}}},
            ],
        },
    )

    runs: list[Name] | None = Field(default=None, max_length=10_000, description="their ids")
    filter: FilterBody | None = Field(default=None, description="or what they must be")
    kind: Literal["hold", "release"] = Field(default="release", description="for pause")
    steps: Steps | None = Field(default=None, description="for resume")
    reason: str = Field(default="", max_length=500)

    @model_validator(mode="after")
    def _one_of_both(self) -> "BulkRequest":
        if (self.runs is None) == (self.filter is None):
            raise ValueError("either runs or filter says which runs are meant")
        return self


class BulkResult(BaseModel):
    """What became of one run: the status that asking it alone would have answered with."""

    run: str
    status: int
    error: ErrorView | None


class BulkView(BaseModel):
    """What became of each run, in the order in which they were asked."""

    results: list[BulkResult]


@routes.post("/runs:{transition}", responses=errors.documented(404, 503))
@needs("control", what="{transition}")
def ask_many(transition: Bulk, body: BulkRequest, runs: NeedsRuns, control: NeedsControl, call: NeedsCall) -> BulkView:
    """Asks the same of many runs, one after the other; one that refuses does not keep the others from it."""
    results = [_ask(control, transition, run, body) for run in _meant(runs, body)]
    call.results += [(each.run, each.status) for each in results]
    return BulkView(results=results)


def _meant(runs: Situations, body: BulkRequest) -> list[str]:
    if body.runs is not None:
        return list(dict.fromkeys(body.runs))
    asked = body.filter or FilterBody()
    labels = [asked.label] if isinstance(asked.label, str) else asked.label
    which = Filter.parse(states=asked.state, labels=labels, name=asked.name)
    if which.asks_for_nothing:
        raise InputError(
            "a filter that asks for nothing would mean every run", where="body.filter", hint="Name a state"
        )
    runs.require_all()
    situations, shelved = runs.listed()
    listed: list[Listed] = [*reversed(shelved), *situations]
    return [each.id for each in listed if which.fits(each)]


def _ask(control: RunControl, transition: Bulk, run: str, body: BulkRequest) -> BulkResult:
    calls: dict[Bulk, Callable[[], object]] = {
        "pause": lambda: control.pause(run, kind=body.kind, reason=body.reason),
        "resume": lambda: control.resume(run, steps=body.steps, reason=body.reason),
        "stop": lambda: control.stop(run, reason=body.reason),
        "kill": lambda: control.kill(run, reason=body.reason),
        "restart": lambda: control.restart(run, reason=body.reason),
        "delete": lambda: control.delete(run),
    }
    try:
        calls[transition]()
    except TandemError as error:
        return BulkResult(run=run, status=errors.status_of(error), error=ErrorView.model_validate(error.as_json()))
    return BulkResult(run=run, status=204 if transition == "delete" else 202, error=None)
