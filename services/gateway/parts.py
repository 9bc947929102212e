"""What the routes work with, and how a route says which part it needs: by the type of an argument.

@routes.get("/v1/…")
def show(predictor: NeedsPredictor) -> View: ...
"""

from dataclasses import dataclass
from typing import Annotated, Any, Protocol, cast

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry


class Ready(Protocol):
    """Something that says whether it can do its work now."""

    def why_not_ready(self) -> str | None:
        """The reason in words, or None if it is ready."""
        ...


@dataclass(frozen=True)
class Parts:
    """Everything a route may need.

    `predictor` is whatever the predict routes work with; the other routes ask it only whether it is ready, which means
    that a judged model is loaded. `checks` are asked by `/readyz`, by name.
    """

    checks: dict[str, Ready]
    predictor: Ready


def _parts(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)


def _registry(request: Request) -> CollectorRegistry:
    return cast(CollectorRegistry, request.app.state.registry)


def _predictor(request: Request) -> Any:
    return _parts(request).predictor


NeedsParts = Annotated[Parts, Depends(_parts)]
NeedsRegistry = Annotated[CollectorRegistry, Depends(_registry)]
NeedsPredictor = Annotated[Any, Depends(_predictor)]
