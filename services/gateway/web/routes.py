"""`/`, `/docs` and `/web/…`: the page, the API to read and try, and their files.

They hold no data, so they ask for no key; all data comes by `/v1`.

Every answer forbids the browser to run or fetch anything that the gateway does not serve itself. A browser asks for
each file again each time, by its entity tag, and gets 304 while it is the same: a new release is seen at once, and
costs an old one nothing.
"""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from services.gateway.access.scopes import needs_no_key
from services.gateway.web.assets import Asset
from shared.errors import NotFoundError

PREFIX = "/web/"
PAGE = "index.html"
DOCS = "docs.html"
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}


def router(files: Mapping[str, Asset]) -> APIRouter:
    """The routes.

    Args:
        files: By their path below `/web/`.
    """
    routes = APIRouter(include_in_schema=False)

    @routes.api_route("/", methods=["GET", "HEAD"])
    @needs_no_key
    async def page(request: Request) -> Response:
        return _sent(files[PAGE], request)

    @routes.api_route("/docs", methods=["GET", "HEAD"])
    @needs_no_key
    async def docs(request: Request) -> Response:
        return _sent(files[DOCS], request)

    @routes.api_route(PREFIX + "{path:path}", methods=["GET", "HEAD"])
    @needs_no_key
    async def file(path: str, request: Request) -> Response:
        found = files.get(path)
        if found is None:
            raise NotFoundError("there is no such file", where=request.url.path, hint="The page is at /")
        return _sent(found, request)

    return routes


def _sent(asset: Asset, request: Request) -> Response:
    headers = {**HEADERS, "ETag": asset.tag}
    known = {tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")}
    if asset.tag in known:
        return Response(status_code=304, headers=headers)
    data = asset.data
    if asset.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        data, headers["Content-Encoding"] = asset.packed, "gzip"
    return Response(data, media_type=asset.media_type, headers=headers)
