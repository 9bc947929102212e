"""What OpenAPI says of keys: the scheme, which scopes open each route, and how it refuses."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from starlette.routing import BaseRoute

from services.gateway.access.scopes import entries
from services.gateway.errors import speaks_plainly

SCHEME = "key"


def describe(schema: dict[str, Any], routes: Sequence[BaseRoute], *, asks: bool) -> None:
    """Adds it to a description of the application.

    Args:
        schema: The description.
        routes: Of the application.
        asks: Whether a key is asked for; otherwise one may be sent, and is not looked at.
    """
    schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes[SCHEME] = {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, where the gateway has a key file. `tandem keys create` makes one.",
    }
    for entry in entries(routes):
        for method in entry.methods:
            operation = schema["paths"].get(entry.path, {}).get(method.lower())
            if operation is None or not entry.needs.scopes:
                continue
            operation["security"] = [{SCHEME: [scope]} for scope in entry.needs.scopes] + ([] if asks else [{}])
            refusals = {str(status): _refusal(status, entry.path) for status in (401, 403, 429, 503)}
            operation["responses"] = dict(sorted({**refusals, **operation["responses"]}.items()))


def _refusal(status: int, path: str) -> dict[str, Any]:
    shape = {"$ref": f"#/components/schemas/{'PlainErrorAnswer' if speaks_plainly(path) else 'ErrorAnswer'}"}
    return {"description": HTTPStatus(status).phrase, "content": {"application/json": {"schema": shape}}}
