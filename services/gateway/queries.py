"""No query parameter is passed over in silence: neither one that a route does not know, nor the first of two."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from shared.errors import InputError


def refuse_unknown(request: Request) -> None:
    """Refuses a request with a query parameter that its route does not declare, or twice with one that is one value.

    Raises:
        InputError: Names the parameter, and those that there are.
    """
    if not request.query_params:
        return
    path = getattr(request.scope.get("route"), "path_format", None)
    operation = request.app.openapi()["paths"].get(path, {}).get(request.method.lower(), {})
    known = {each["name"]: each["schema"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    for name, schema in ((name, known.get(name)) for name in request.query_params):
        if schema is None:
            takes = f"This route takes {', '.join(sorted(known))}" if known else "This route takes none"
            raise InputError(f"there is no query parameter {name[:60]!r}", where="query", hint=takes)
        if len(request.query_params.getlist(name)) > 1 and not _several(schema):
            raise InputError("is given more than once", where=name, hint="It is one value")


def _several(schema: Mapping[str, Any]) -> bool:
    return any(each.get("type") == "array" for each in (schema, *schema.get("anyOf", ())))
