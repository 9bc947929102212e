"""No query parameter is passed over in silence: one that a route does not know is refused, by name."""

from fastapi import Request
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.routing import APIRoute

from shared.errors import InputError


def refuse_unknown(request: Request) -> None:
    """Refuses a request with a query parameter that its route does not declare.

    Raises:
        InputError: Names the parameter, and those that there are.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not request.query_params:
        return
    known = {field.alias for field in get_flat_dependant(route.dependant).query_params}
    known |= {each["name"] for each in (route.openapi_extra or {}).get("parameters", ()) if each["in"] == "query"}
    for name in request.query_params:
        if name not in known:
            takes = f"This route takes {', '.join(sorted(known))}" if known else "This route takes none"
            raise InputError(f"there is no query parameter {name[:60]!r}", where="query", hint=takes)
