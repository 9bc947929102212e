"""What happens around every request: its body is limited, the unexpected is caught once, and it is counted."""

import logging
import secrets
import time
from collections.abc import Callable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway import errors
from services.gateway.metrics import RequestMetrics

_log = logging.getLogger(__name__)

THROWN_AWAY_BYTES = 65_536
"""What may be left of a body without the connection being given up for it."""


class Heads:
    """Answers HEAD as GET would be answered, without the body: load balancers and watchers ask so.

    Everything inside sees a GET, its scopes and its metrics included.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        over = False

        async def bare(message: Message) -> None:
            nonlocal over
            if message["type"] == "http.response.start":
                await send(message)
            elif not over:  # a stream, too, ends with its first part
                over = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app({**scope, "method": "GET"}, receive, bare)


class BodyLimit:
    """Refuses bodies over a limit while they stream in, whatever their Content-Length says.

    Args:
        app: What is guarded.
        limit_of: The greatest number of bytes for a path.
    """

    def __init__(self, app: ASGIApp, *, limit_of: Callable[[str], int]) -> None:
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_of(scope["path"])
        announced = next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
        received = 0

        async def limited() -> Message:
            nonlocal received
            if announced > limit:
                raise errors.BodyTooLargeError(limit)
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise errors.BodyTooLargeError(limit)
            return message

        await self._app(scope, limited, send)


class Hangup:
    """Ends the connection with an answer that was given before the whole body was read, if much of it may be left.

    Otherwise the server would go on taking in and throwing away whatever the client sends, for ever if it is endless.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection."""
        if scope["type"] != "http" or not _may_be_long(scope["headers"]):
            await self._app(scope, receive, send)
            return
        left = True

        async def read() -> Message:
            nonlocal left
            message = await receive()
            left = message.get("more_body", False)
            return message

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and left:
                others = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
                message = {**message, "headers": [*others, (b"connection", b"close")]}
            await send(message)

        await self._app(scope, read, watched)


def _may_be_long(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    for name, value in headers:
        if name == b"content-length":
            return int(value) > THROWN_AWAY_BYTES
        if name == b"transfer-encoding":
            return True
    return False


class Guard:
    """Answers 500 for what nobody expected, and logs it once with an id that the answer names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            number = secrets.token_hex(4)
            _log.exception("unexpected error %s in %s %s", number, scope.get("method"), scope.get("path"))
            if not started:
                response = errors.answer(
                    500,
                    code="internal",
                    message=f"the gateway made a mistake; its log says more under {number}",
                    where=scope["path"],
                    hint="Please report it",
                    path=scope["path"],
                )
                await response(scope, receive, send)


class Counted:
    """Counts and times requests, by the route's template, never by the path that was asked for."""

    def __init__(
        self, app: ASGIApp, *, metrics: RequestMetrics, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        begin = self._clock()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            found = scope.get("route")
            route = str(getattr(found, "path_format", None) or getattr(found, "path", "unknown"))
            self._metrics.observe(method=scope["method"], route=route, status=status, seconds=self._clock() - begin)
