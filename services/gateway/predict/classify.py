"""`POST /v1/models/{model}:classify`: from a request's bytes to the bytes of its answer.

Speaks ASGI itself, since this is the gateway's hot path; `routes` puts it into the application. Small pictures are
decoded right here, because handing them to a thread would take longer; everything else is decoded in a pool.

A request passes: body (limited in bytes and seconds, and in bytes of all requests together) → model → decoding →
queue → answer. The model is looked up once, after the body has come: what answers is what is best then.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs

import numpy as np
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from services.gateway.errors import RETRY_SECONDS, status_of
from services.gateway.predict import bodies
from services.gateway.predict.batching import Batcher, Probabilities, Work
from services.gateway.predict.bodies import BodyReader
from services.gateway.predict.images import decode_image, inspect_image
from services.gateway.predict.metrics import PredictMetrics
from services.gateway.predict.models import Images, LoadedModel
from services.gateway.predict.predictor import Predictor
from shared.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    DeadlineError,
    ImageError,
    InstancesError,
    MediaTypeError,
    OverloadedError,
    TandemError,
)

Headers = list[tuple[bytes, bytes]]

DEFAULT_TOP = 5
MOST_TOP = 1000
CLIENT_GONE = 499
# Decoding up to so much costs about what a change of threads does.
INLINE_BYTES = 2**15
INLINE_PIXELS = 128 * 128
# Watching for a client that goes away costs a task, so only those who wait longer are watched.
WATCH_AFTER_SECONDS = 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """What one request may take.

    Args:
        body_bytes: The longest body.
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
class _Request:
    """What is known of a request so far."""

    scope: Scope
    receive: Receive
    name: str
    model: LoadedModel | None = None
    held: int = 0
    query: dict[str, list[str]] = field(default_factory=dict)


class _ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Classifier:
    """Answers requests to classify.

    Args:
        predictor: Gives out models.
        batcher: Runs them.
        decoders: Where large bodies are decoded.
        reader: From bodies to images.
        metrics: Where requests are counted.
        clock: Monotonic seconds, the same as the batcher's.
        limits: Of a request.
    """

    def __init__(
        self,
        *,
        predictor: Predictor,
        batcher: Batcher,
        decoders: Executor,
        reader: BodyReader,
        metrics: PredictMetrics,
        clock: Callable[[], float],
        limits: RequestLimits,
    ) -> None:
        self._predictor = predictor
        self._batcher = batcher
        self._decoders = decoders
        self._reader = reader
        self._metrics = metrics
        self._clock = clock
        self._limits = limits
        self._held = 0

    async def send(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one ASGI request to classify with the model `name`."""
        reply = await self.reply(name, scope, receive)
        if reply.status == CLIENT_GONE:
            return
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def reply(self, name: str, scope: Scope, receive: Receive) -> Reply:
        """The answer to one ASGI request; errors that are meant for people are answers too."""
        begin = self._clock()
        request = _Request(scope=scope, receive=receive, name=name)
        status = 500
        try:
            reply = await self._answer(request)
            status = reply.status
        except TandemError as error:
            reply = _refusal(error)
            status = reply.status
        except _ClientGoneError:
            reply = Reply(CLIENT_GONE, [], b"")
            status = CLIENT_GONE
        finally:
            self._held -= request.held
            model = request.model
            version = (name, str(model.manifest.step), model.manifest.weights) if model else ("unknown", "", "")
            self._metrics.answered(version=version, status=status, seconds=self._clock() - begin)
        return reply

    async def _answer(self, request: _Request) -> Reply:
        request.query = _query(request.scope)
        top = _top(request.query)
        body = await self._read(request)
        deadline = self._clock() + self._limits.answer_seconds
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                request.model = model = await self._predictor.model(request.name)
                images = await self._images(request, model, body)
        except TimeoutError as error:
            raise DeadlineError("the model or the picture was not ready in time", hint="Ask again") from error
        work = self._batcher.submit(model, images, deadline=deadline)
        probabilities = await self._wait(work, request.receive)
        return _answer(request.name, model, probabilities, top)

    async def _read(self, request: _Request) -> bytes:
        limit = self._limits.body_bytes
        announced = _header(request.scope, b"content-length")
        if announced.isdecimal() and int(announced[:20]) > limit:
            raise _too_large(limit)
        chunks: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise _ClientGoneError
                    chunk = message.get("body", b"")
                    more = message.get("more_body", False)
                    size += len(chunk)
                    if size > limit:
                        raise _too_large(limit)
                    self._hold(request, len(chunk))
                    chunks.append(chunk)
        except TimeoutError as error:
            raise BodyTimeoutError(
                f"did not arrive within {self._limits.body_seconds:g} seconds", where="body"
            ) from error
        except HTTPException as error:  # from the limit around all routes
            raise _too_large(limit) from error
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _hold(self, request: _Request, size: int) -> None:
        if self._held + size > self._limits.held_bytes:
            raise OverloadedError("other requests fill the memory set aside for bodies", hint="Ask again in a second")
        self._held += size
        request.held += size

    async def _images(self, request: _Request, model: LoadedModel, body: bytes) -> Images:
        if _header(request.scope, b"content-encoding") not in ("", "identity"):
            raise MediaTypeError("encoded bodies are not read", where="content-encoding", hint="Send it as it is")
        kind = bodies.media_type(_header(request.scope, b"content-type"), body)
        shape = model.manifest.input_shape
        if kind == bodies.RAW:
            return self._reader.raw(body, shape=request.query.get("shape", [None])[-1], input_shape=shape)
        loop = asyncio.get_running_loop()
        if kind == bodies.JSON:
            return await loop.run_in_executor(self._decoders, lambda: self._reader.json(body, input_shape=shape))
        try:
            return await self._picture(body, height=shape[0], width=shape[1])
        except ImageError as error:
            error.where = error.where or "body"
            raise

    async def _picture(self, body: bytes, *, height: int, width: int) -> Images:
        limits = self._reader.limits

        def decode() -> Images:
            return decode_image(inspect_image(body, limits=limits), height=height, width=width)[np.newaxis]

        if len(body) <= INLINE_BYTES:
            header = inspect_image(body, limits=limits)
            if header.width * header.height <= INLINE_PIXELS:
                return decode_image(header, height=height, width=width)[np.newaxis]
        return await asyncio.get_running_loop().run_in_executor(self._decoders, decode)

    async def _wait(self, work: Work, receive: Receive) -> Probabilities:
        """The work's result; gives it up when the deadline passes or the client goes."""
        loop = asyncio.get_running_loop()
        watcher: asyncio.Task[None] | None = None
        gone = False

        async def watch_client() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            work.future.cancel()

        def watch() -> None:
            nonlocal watcher
            watcher = loop.create_task(watch_client())

        def expire() -> None:
            if not work.future.done():
                work.future.set_exception(DeadlineError("there was no answer in time", hint="Ask again"))

        timers = (
            loop.call_later(WATCH_AFTER_SECONDS, watch),
            loop.call_later(max(0.0, work.deadline - self._clock()), expire),
        )
        try:
            return await work.future
        except asyncio.CancelledError:
            if gone:
                raise _ClientGoneError from None
            raise
        finally:
            for timer in timers:
                timer.cancel()
            if watcher is not None:
                watcher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watcher


def _query(scope: Scope) -> dict[str, list[str]]:
    text = scope.get("query_string", b"")
    return parse_qs(text.decode("latin-1"), max_num_fields=16) if 0 < len(text) <= 1024 else {}


def _top(query: dict[str, list[str]]) -> int:
    text = query.get("top", [str(DEFAULT_TOP)])[-1]
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MOST_TOP):
        raise InstancesError(f"{text[:80]!r} is not an integer from 1 to {MOST_TOP}", where="top")
    return int(text)


def _header(scope: Scope, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"is over the limit of {limit:,} bytes", where="body", hint="Scale the picture down")


def _answer(name: str, model: LoadedModel, probabilities: Probabilities, top: int) -> Reply:
    labels = model.labels
    # Stable, so that classes of equal probability keep the order of their labels.
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    predictions = [
        '{"classes": ['
        + ", ".join(f'{{"label": {labels[index]}, "probability": {row[index]:.7g}}}' for index in best)
        + "]}"
        for row, best in zip(probabilities.tolist(), order.tolist(), strict=True)
    ]
    text = f'{{"model": {json.dumps(name)}, {model.origin}, "predictions": [{", ".join(predictions)}]}}'
    body = text.encode()
    return Reply(200, [*_content(body), *model.headers], body)


def _refusal(error: TandemError) -> Reply:
    status = status_of(error)
    body = json.dumps({"error": error.as_json()}).encode()
    headers = _content(body)
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers.append((b"retry-after", str(RETRY_SECONDS).encode()))
    if isinstance(error, BodyTooLargeError | BodyTimeoutError):
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    return Reply(status, headers, body)


def _content(body: bytes) -> Headers:
    return [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
