"""No query parameter is passed over in silence: one that a route does not know is refused, by name."""

from fastapi import Request

from shared.errors import InputError


def refuse_unknown(request: Request) -> None:
    """Refuses a request with a query parameter that its route does not declare.

    Raises:
        InputError: Names the parameter, and those that there are.
    """
    if not request.query_params:
        return
    path = getattr(request.scope.get("route"), "path_format", None)
    operation = request.app.openapi()["paths"].get(path, {}).get(request.method.lower(), {})
    known = sorted(each["name"] for each in operation.get("parameters", ()) if each["in"] == "query")
    for name in request.query_params:
        if name not in known:
            takes = f"This route takes {', '.join(known)}" if known else "This route takes none"
            raise InputError(f"there is no query parameter {name[:60]!r}", where="query", hint=takes)
