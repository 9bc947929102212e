"""A name in a path, which has no colon: what stands behind one is a verb, as in `/v1/runs/{run}:stop`.

Importing this makes `{run:name}` known to routes. Without it `PATCH /v1/runs/a:stop` would be about a run `a:stop`,
instead of a method that the route has not.
"""

from starlette.convertors import StringConvertor, register_url_convertor


class NameConvertor(StringConvertor):
    """Fits whatever has neither a slash nor a colon."""

    regex = "[^/:]+"


NAME = "name"
register_url_convertor(NAME, NameConvertor())
