"""`/livez`, `/readyz` and `/metrics`: for who keeps the gateway running and watches it."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from services.gateway import errors
from services.gateway.access.scopes import needs_no_key
from services.gateway.parts import NeedsParts, NeedsRegistry

routes = APIRouter(tags=["health"])


class Live(BaseModel):
    """The process answers."""

    live: bool = True


class Readiness(BaseModel):
    """Whether the gateway can do its work, and if not, why."""

    ready: bool
    reasons: dict[str, str] = Field(
        description="what is not ready, and why", examples=[{"volume": "/volume: cannot be written to"}]
    )


AskedForModel = Annotated[bool, Query(description="whether there must also be a judged model to predict with")]


@routes.get("/livez", responses=errors.documented())
@needs_no_key
async def livez() -> Live:
    """Whether the process lives. Asks nothing of the volume."""
    return Live()


@routes.get("/readyz", responses={**errors.documented(), 503: {"model": Readiness, "description": "Not ready"}})
@needs_no_key
def readyz(parts: NeedsParts, response: Response, model: AskedForModel = False) -> Readiness:
    """Whether runs can be steered; with `?model=1` also whether there is a judged model to predict with."""
    asked = parts.checks | ({"model": parts.predictor} if model else {})
    reasons = {name: reason for name, part in asked.items() if (reason := part.why_not_ready()) is not None}
    response.status_code = 503 if reasons else 200
    return Readiness(ready=not reasons, reasons=reasons)


@routes.get(
    "/metrics",
    response_class=Response,
    responses={**errors.documented(), 200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}},
)
@needs_no_key
def metrics(registry: NeedsRegistry) -> Response:
    """Everything the gateway counts, in Prometheus' text format."""
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
