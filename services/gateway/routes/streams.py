"""What happens to runs, as it happens: events, logs, and server-sent events."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, JsonValue
from pydantic.json_schema import SkipJsonSchema

from services.gateway import errors
from services.gateway.access.scopes import needs
from services.gateway.parts import NeedsStreams
from services.gateway.routes.runs import RunId, looks_like
from services.gateway.streams.history import Page
from services.gateway.streams.position import PATTERN, Position, format_position, parse_position
from services.gateway.streams.sources import Kind, Level, LogFilter, Service
from shared.errors import InputError

routes = APIRouter(prefix="/v1", tags=["streams"])

RUN_KINDS: frozenset[Kind] = frozenset({"state", "series", "evaluation", "event", "log"})
ALL_KINDS: frozenset[Kind] = frozenset({"state", "evaluation"})


def _listed(kinds: frozenset[Kind]) -> dict[str, JsonValue]:
    one = "|".join(sorted(kinds))
    return looks_like(f"({one})(,({one}))*")


HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
EXAMPLE = (
    "retry: 2000\nid: f:812,s:2048\n\n"
    'event: series\nid: f:812,s:2214\ndata: {"step":20,"time":1772360110.2,"loss":4.62,…}\n\n'
)
MESSAGE = {
    "type": "object",
    "description": "each message; `data` is JSON",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": f"^{PATTERN}$"},
        "event": {"enum": ["state", "series", "evaluation", "event", "log", "removed"]},
        "data": {"type": "string"},
        "retry": {"type": "integer"},
    },
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events, until the client leaves",
        "content": {"text/event-stream": {"schema": MESSAGE, "example": EXAMPLE}},
    }
}


class EventView(BaseModel):
    """One thing that happened to a run."""

    time: float
    service: str = Field(description="who tells of it: trainer, evaluator or gateway")
    kind: str = Field(examples=["state"])
    message: str
    step: int | None
    details: dict[str, Any]


class EventsView(BaseModel):
    """Events of a run in the order of time."""

    events: list[EventView]
    cursor: str = Field(description="give it as `after` to go on from here", examples=["ge:1204,te:388,ee:0"])
    more: bool = Field(description="whether there are more: behind these with `after`, before them without")


class LogLineView(BaseModel):
    """One line of a log."""

    time: float
    level: str
    service: str
    message: str
    traceback: str | None
    details: dict[str, Any] = Field(description="whatever the line says besides")


class LogsView(BaseModel):
    """Lines of logs about a run in the order of time."""

    lines: list[LogLineView]
    cursor: str = Field(description="give it as `after` to go on from here", examples=["tl:20480,gl:9112"])
    more: bool = Field(description="whether there are more: behind these with `after`, before them without")


Place = Annotated[str, Field(json_schema_extra=looks_like(PATTERN))]
After = Annotated[
    Place | SkipJsonSchema[None], Query(description="a `cursor`: only what came after it", max_length=2_000)
]
LeastLevel = Annotated[Level, Query(description="lines of at least this level")]
OfService = Annotated[list[Service] | None, Query(description="lines of these services")]
StreamAfter = Annotated[
    list[Place] | SkipJsonSchema[None],
    Query(description="cursors or ids: begins behind them; `Last-Event-ID` goes before", max_length=16),
]
LastEventId = Annotated[
    Place | SkipJsonSchema[None], Header(description="the id of the last message that came", max_length=2_000)
]


@routes.get("/runs/{run}/events", response_model=EventsView, responses=errors.documented(404))
@needs("read")
def list_events(
    *,
    run: RunId,
    streams: NeedsStreams,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="at most so many")] = 1_000,
) -> Response:
    """What happened to a run: the newest events, or those behind a cursor."""
    page = streams.events(run, after=_after(after), most=limit)
    return _answer("events", page)


@routes.get("/runs/{run}/logs", response_model=LogsView, responses=errors.documented(404))
@needs("read")
def list_logs(
    *,
    run: RunId,
    streams: NeedsStreams,
    level: LeastLevel = "info",
    service: OfService = None,
    after: After = None,
    tail: Annotated[int, Query(ge=1, le=10_000, description="at most so many")] = 200,
) -> Response:
    """What services logged about a run: the newest lines, or those behind a cursor.

    Everything its trainer logged, and what the gateway and evaluators logged that names the run. The newest lines are
    looked for in the last two mebibytes of each log.
    """
    wanted = LogFilter(level=level, services=frozenset(service or ()))
    page = streams.logs(run, wanted=wanted, after=_after(after), most=tail)
    return _answer("lines", page)


@routes.get("/runs/{run}/stream", response_class=StreamingResponse, responses={**errors.documented(404, 429), **STREAM})
@needs("read")
def stream_run(
    *,
    run: RunId,
    streams: NeedsStreams,
    kinds: Annotated[
        str,
        Query(
            description="of state, series, evaluation, event, log; several joined by commas",
            max_length=60,
            json_schema_extra=_listed(RUN_KINDS),
        ),
    ] = "state,series,evaluation,event",
    level: LeastLevel = "info",
    service: OfService = None,
    after: StreamAfter = None,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Server-sent events of a run, named as their kinds; the data is what the other routes show of the same thing.

    First comes the run as it is (`state`), unless the given id already stands for that; then what lies behind the id;
    then whatever happens. Without an id lines are sent from now on.
    """
    chosen = _kinds(kinds, RUN_KINDS)
    wanted = LogFilter(level=level, services=frozenset(service or ()))
    messages = streams.run(run, kinds=chosen, wanted=wanted, after=_stream_after(after, last_event_id))
    return StreamingResponse(messages, media_type="text/event-stream", headers=HEADERS)


@routes.get("/stream", response_class=StreamingResponse, responses={**errors.documented(429), **STREAM})
@needs("read")
def stream_all(
    *,
    streams: NeedsStreams,
    kinds: Annotated[
        str,
        Query(
            description="of state, evaluation; both joined by a comma",
            max_length=60,
            json_schema_extra=_listed(ALL_KINDS),
        ),
    ] = "state,evaluation",
    after: StreamAfter = None,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Server-sent events of all runs: each whose view changes (`state`), each verdict (`evaluation`), and `removed`.

    First come the runs at work, as they are. Open the stream before asking for the list, and nothing is missed between.
    """
    messages = streams.all_runs(kinds=_kinds(kinds, ALL_KINDS), after=_stream_after(after, last_event_id))
    return StreamingResponse(messages, media_type="text/event-stream", headers=HEADERS)


def _kinds(text: str, known: frozenset[Kind]) -> frozenset[Kind]:
    asked = frozenset(text.split(","))
    unknown = sorted(asked - known)
    if unknown:
        raise InputError(
            f"there are no messages of the kind {unknown[0]!r}", where="kinds", hint=f"Of: {', '.join(sorted(known))}"
        )
    return frozenset(each for each in known if each in asked)


def _after(text: str | None) -> Position | None:
    return None if text is None else parse_position([text], where="after")


def _stream_after(after: list[str] | None, last: str | None) -> Position:
    if last:
        return parse_position([last], where="Last-Event-ID")
    return parse_position(after or [], where="after")


def _answer(name: str, page: Page) -> Response:
    # The lines were encoded when they were read: the same bytes as streams send.
    encoded = b",".join(line.data for line in page.lines if line.data is not None)
    tail = f'],"cursor":"{format_position(page.position)}","more":{"true" if page.more else "false"}}}'
    return Response(f'{{"{name}":['.encode() + encoded + tail.encode(), media_type="application/json")
