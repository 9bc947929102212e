"""A request to predict and its reply, as every protocol has them; bodies are read here, within limits.

A body is limited in bytes, in seconds, and in bytes of all requests together; a compressed one also in the bytes that
it unfolds to, which are counted as they come.
"""

import asyncio
import zlib
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope

from services.gateway.predict.models import LoadedModel
from shared.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    InputError,
    InstancesError,
    MediaTypeError,
    OverloadedError,
)

Headers = list[tuple[bytes, bytes]]

LONGEST_QUERY = 1024

# zlib tells a gzip header from its own by itself.
_EITHER_HEADER = zlib.MAX_WBITS | 32


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """What one request may take.

    Args:
        body_bytes: The longest body, compressed or not.
        body_seconds: For the body to arrive.
        answer_seconds: From the whole body to the answer.
        held_bytes: The bodies of all requests together.
    """

    body_bytes: int = 12 * 2**20
    body_seconds: float = 10.0
    answer_seconds: float = 10.0
    held_bytes: int = 256 * 2**20


@dataclass(slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes


@dataclass(slots=True)
class PredictRequest:
    """What is known of a request so far.

    Args:
        scope: Of ASGI.
        receive: Of ASGI.
        name: The model that is asked.
        version: Which step of it, as text from outside; None: what answers for it.
        label: Which alias of it; None likewise.
    """

    scope: Scope
    receive: Receive
    name: str
    version: str | None = None
    label: str | None = None
    model: LoadedModel | None = None
    deadline: float = 0.0
    held: int = 0
    query: dict[str, str] = field(default_factory=dict)

    def header(self, name: bytes) -> str:
        """A header's value, or nothing; `name` in small letters."""
        for key, value in self.scope["headers"]:
            if key == name:
                text: str = value.decode("latin-1")
                return text
        return ""

    def read_query(self, *known: str) -> None:
        """Parses the query string. Nothing in it is passed over in silence, as on all other routes.

        Raises:
            InputError: It is longer than a right one can be, has a parameter that is none of `known`, or has one twice.
        """
        text: bytes = self.scope.get("query_string", b"")
        takes = f"This route takes {', '.join(known)}"
        if len(text) > LONGEST_QUERY:
            raise InputError(f"the query is {len(text):,} bytes long", where="query", hint=takes)
        for name, value in parse_qsl(text.decode("latin-1"), keep_blank_values=True):
            if name not in known:
                raise InputError(f"there is no query parameter {name[:60]!r}", where="query", hint=takes)
            if name in self.query:
                raise InputError("is given more than once", where=name, hint="It is one value")
            self.query[name] = value


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Intake:
    """Reads bodies.

    Args:
        limits: Of a request, and of all together.
    """

    def __init__(self, *, limits: RequestLimits) -> None:
        self._limits = limits
        self._held = 0

    async def read(self, request: PredictRequest) -> bytes:
        """The body as it came.

        Raises:
            BodyTooLargeError: It is over the limit; it is not read on.
            BodyTimeoutError: It did not arrive in time.
            OverloadedError: Other bodies fill the memory.
            ClientGoneError: The client went away.
        """
        limit = self._limits.body_bytes
        announced = request.header(b"content-length")
        if announced.isdecimal() and int(announced[:20]) > limit:
            raise _too_large(limit)
        chunks: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    chunk = message.get("body", b"")
                    more = message.get("more_body", False)
                    size += len(chunk)
                    if size > limit:
                        raise _too_large(limit)
                    self.hold(request, len(chunk))
                    chunks.append(chunk)
        except TimeoutError as error:
            raise BodyTimeoutError(
                f"did not arrive within {self._limits.body_seconds:g} seconds", where="body"
            ) from error
        except HTTPException as error:  # from the limit around all routes
            raise _too_large(limit) from error
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def hold(self, request: PredictRequest, size: int) -> None:
        """Counts `size` bytes as held for this request, until `release`.

        Raises:
            OverloadedError: There is no room for them.
        """
        if self._held + size > self._limits.held_bytes:
            raise OverloadedError("other requests fill the memory set aside for bodies", hint="Ask again in a second")
        self._held += size
        request.held += size

    def release(self, request: PredictRequest) -> None:
        """Counts nothing as held for this request any more."""
        self._held -= request.held
        request.held = 0


def unfolded(body: bytes, encoding: str, *, limit: int) -> bytes:
    """The body without its content encoding, gzip or deflate; no more than `limit` bytes are ever made of it.

    Raises:
        BodyTooLargeError: It is more than that.
        InstancesError: It is not what it says.
        MediaTypeError: It is encoded in another way.
    """
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        raise MediaTypeError(
            f"{encoding[:40]!r} is not read", where="content-encoding", hint="Send it as it is, or as gzip or deflate"
        )
    decoder = zlib.decompressobj(_EITHER_HEADER)
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise InstancesError(f"is not {encoding[:40]}: {error}", where="body") from error
    if len(plain) > limit:
        raise _too_large(limit)
    if not decoder.eof or decoder.unused_data:
        raise InstancesError(f"is not one whole {encoding[:40]} stream", where="body")
    return plain


def content(body: bytes, kind: bytes = b"application/json") -> Headers:
    """The headers that say what a body is and how long."""
    return [(b"content-type", kind), (b"content-length", str(len(body)).encode())]


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"is over the limit of {limit:,} bytes", where="body", hint="Scale the picture down")
