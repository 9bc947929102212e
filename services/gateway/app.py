"""The HTTP application, made of parts that are already built. Nothing starts here; `__main__` wires and runs."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware import Middleware

from services.gateway import errors
from services.gateway.access.audit import Audit
from services.gateway.access.description import describe
from services.gateway.access.gate import Gate
from services.gateway.access.keyring import Keyring
from services.gateway.access.rates import Rates
from services.gateway.metrics import RequestMetrics
from services.gateway.middleware import BodyLimit, Counted, Guard, Hangup, Heads
from services.gateway.openapi_examples import exemplify
from services.gateway.parts import Parts
from services.gateway.queries import refuse_unknown
from services.gateway.routes import bulk, examples, health, places, results, runs, specs, streams
from shared import observe

DESCRIPTION = """
Steers runs, shows how they go, and serves what was judged.

Every answer that is not a success has one shape: `{"error": {"code", "message", "where", "hint"}}`.
"""
PICTURES = (":classify", ":predict", "/infer")


def create_app(
    parts: Parts,
    *,
    registry: CollectorRegistry,
    routers: Sequence[APIRouter] = (),
    body_bytes: int = 1 << 20,
    picture_bytes: int = 16 << 20,
    keyring: Keyring | None = None,
    audit: Audit | None = None,
    rates: Rates | None = None,
    local_only: bool = False,
) -> FastAPI:
    """The application.

    Args:
        parts: What the routes work with; each route's signature says which of them it needs.
        registry: What `/metrics` shows; request metrics are declared on it.
        routers: More routes, such as those of the predictor.
        body_bytes: The greatest body of a request.
        picture_bytes: The greatest body of a request with pictures.
        keyring: Knows who may ask; None: everybody may.
        audit: Where it is written down who asked for a change.
        rates: How often one client may ask.
        local_only: Whether only this machine can connect, as without keys; then web pages of others are refused.
    """
    app: FastAPI = _Api(
        title="tandem",
        version=observe.version(),
        description=DESCRIPTION,
        redirect_slashes=False,
        docs_url=None,  # FastAPI's own would fetch its scripts from another host; web/ has it
        redoc_url=None,
        dependencies=[Depends(refuse_unknown)],
        middleware=[
            Middleware(Heads),
            Middleware(Hangup),
            Middleware(Counted, metrics=RequestMetrics(registry)),
            Middleware(Guard),
            Middleware(
                Gate,
                routes=lambda: app.routes,
                keyring=keyring or Keyring(),
                audit=audit,
                rates=rates,
                local_only=local_only,
            ),
            Middleware(BodyLimit, limit_of=_limits(body_bytes, picture_bytes)),
        ],
    )
    app.state.parts = parts
    app.state.asks = keyring is not None and keyring.asks
    app.state.registry = registry
    errors.install(app)
    # Predictions come first: a request is held against the routes in this order, and theirs are many and short.
    for router in (
        *routers,
        runs.routes,
        bulk.routes,
        results.routes,
        examples.routes,
        streams.routes,
        places.routes,
        specs.routes,
        health.routes,
    ):
        app.include_router(router)
    return app


class _Api(FastAPI):
    """Adds to the description of each route what the gate asks for."""

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        if not self.openapi_schema:
            describe(super().openapi(), self.routes, asks=self.state.asks)
            exemplify(super().openapi())
        return super().openapi()


def _limits(body_bytes: int, picture_bytes: int) -> Callable[[str], int]:
    return lambda path: picture_bytes if path.endswith(PICTURES) else body_bytes
