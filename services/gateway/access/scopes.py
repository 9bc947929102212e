"""What a route needs, declared beside it, and how the need of a request is found before the route is entered.

    @routes.post("/{run}:stop")
    @needs("control", what="stop")
    def stop_run(run: RunId, …) -> RunView: ...

A route that declares nothing needs `control`, so forgetting it opens nothing; `tests/gateway/access/` finds it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import BaseRoute

from shared.keys import Scope

F = TypeVar("F", bound=Callable[..., Any])
_ATTRIBUTE = "__tandem_needs__"
DOCUMENTS = frozenset({"/openapi.json"})
"""FastAPI's own route: the description of the API, which says nothing of any run."""


@dataclass(frozen=True)
class Needs:
    """What a caller must have.

    Attributes:
        scopes: One of which its key must have; none: no key at all.
        what: Names the call in audit lines; may name parameters of the path, such as `{transition}`.
    """

    scopes: tuple[Scope, ...]
    what: str = ""


def needs(*scopes: Scope, what: str = "") -> Callable[[F], F]:
    """Declares that a route is for keys with one of these scopes; one for `control` says `what` it does."""
    return _declared(Needs(scopes, what))


def needs_no_key(endpoint: F) -> F:
    """Declares that a route is for everybody."""
    return _declared(Needs(()))(endpoint)


def declared(endpoint: object) -> Needs | None:
    """What a route declares, or None if it forgot to."""
    found: Needs | None = getattr(endpoint, _ATTRIBUTE, None)
    return found


def _declared(value: Needs) -> Callable[[F], F]:
    def declare(endpoint: F) -> F:
        setattr(endpoint, _ATTRIBUTE, value)
        return endpoint

    return declare


@dataclass(frozen=True)
class Entry:
    """A route as requests find it.

    Attributes:
        path: Its template; requests are counted by it.
        methods: Which it takes.
        pattern: Of the paths that are its.
        needs: What a caller must have.
    """

    path: str
    methods: frozenset[str]
    pattern: re.Pattern[str]
    needs: Needs


def entries(routes: Sequence[BaseRoute]) -> list[Entry]:
    """Every route, in the order in which the router tries them."""
    return [
        Entry(
            path=route.path_format or "",
            methods=frozenset(route.methods or ()),
            pattern=route.path_regex,
            needs=_needs(route),
        )
        for route in iter_route_contexts(routes)
    ]


def _needs(route: RouteContext) -> Needs:
    if route.path in DOCUMENTS:
        return Needs(())
    return declared(route.endpoint) or Needs(("control",), "undeclared")


def find(table: Sequence[Entry], method: str, path: str) -> tuple[Entry, dict[str, str]] | None:
    """The entry of a request with the parameters of its path, or None: then it has no route, or not by that method."""
    for entry in table:
        if method in entry.methods and (match := entry.pattern.match(path)):
            return entry, match.groupdict()
    return None
