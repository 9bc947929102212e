"""What every protocol does with a request, from its first byte to its answer.

A request passes: body → model → pictures → queue → answer. The model is looked up once, after the body has come: what
answers is what is best then. How bodies are read and answers written is the protocols' own: `classify`, `tfserving`,
`openinference`.
"""

import asyncio
import contextlib
import json
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from http import HTTPStatus
from typing import TypeVar

from starlette.types import Receive

from services.gateway.errors import RETRY_SECONDS, plain_status, status_of
from services.gateway.predict.batching import Batcher, Outputs, Work
from services.gateway.predict.metrics import PredictMetrics
from services.gateway.predict.models import Images, LoadedModel
from services.gateway.predict.predictor import Predictor
from services.gateway.predict.requests import (
    ClientGoneError,
    Headers,
    Intake,
    PredictRequest,
    Reply,
    RequestLimits,
    content,
    unfolded,
)
from shared.errors import BodyTimeoutError, BodyTooLargeError, DeadlineError, InstancesError, NotFoundError, TandemError

CLIENT_GONE = 499
TIMEOUT_HEADER = b"x-tandem-timeout"
# Watching for a client that goes away costs a task, so only those who wait longer are watched.
WATCH_AFTER_SECONDS = 0.05
# Unfolding or decoding up to so much costs about what a change of threads does.
INLINE_BYTES = 2**15

Result = TypeVar("Result")
Answer = Callable[[PredictRequest], Awaitable[Reply]]
Refusal = Callable[[TandemError], Reply]


class PredictService:
    """Answers requests to predict.

    Args:
        predictor: Gives out models.
        batcher: Runs them.
        decoders: Where large bodies are decoded.
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
        metrics: PredictMetrics,
        clock: Callable[[], float],
        limits: RequestLimits,
    ) -> None:
        self._predictor = predictor
        self._batcher = batcher
        self._decoders = decoders
        self._metrics = metrics
        self._clock = clock
        self._limits = limits
        self._intake = Intake(limits=limits)

    async def reply(self, request: PredictRequest, *, answer: Answer, refusal: Refusal) -> Reply:
        """The answer to one request; errors that are meant for people are answers too, by way of `refusal`."""
        begin = self._clock()
        status = 500
        try:
            reply = await answer(request)
            status = reply.status
        except TandemError as error:
            reply = refusal(error)
            status = reply.status
        except ClientGoneError:
            reply = Reply(CLIENT_GONE, [], b"")
            status = CLIENT_GONE
        finally:
            self._intake.release(request)
            model = request.model
            version = (request.name, str(model.manifest.step), model.manifest.weights) if model else ("unknown", "", "")
            self._metrics.answered(version=version, status=status, seconds=self._clock() - begin)
        return reply

    async def body(self, request: PredictRequest) -> bytes:
        """The whole body, without its content encoding. From then on the time for the answer runs."""
        seconds = self._seconds(request)
        body = await self._intake.read(request)
        request.deadline = self._clock() + seconds
        encoding = request.header(b"content-encoding")
        if encoding.strip().lower() in ("", "identity"):
            return body
        limit = self._limits.body_bytes
        body = await self.aside(lambda: unfolded(body, encoding, limit=limit))
        self._intake.hold(request, len(body))
        return body

    async def model(self, request: PredictRequest) -> LoadedModel:
        """The model that the request asks, loaded if need be.

        Raises:
            NotFoundError: There is none of that name, version or label.
            UnavailableError: It cannot be served now.
            DeadlineError: It was not loaded in time.
        """
        step = None if request.version is None else number(request.version)
        token = request.header(b"x-request-id")
        asked = self._predictor.model(request.name, step=step, label=request.label, token=token)
        request.model = await self._in_time(request, asked)
        return request.model

    async def pictures(self, request: PredictRequest, make: Callable[[], Images]) -> Images:
        """What `make` gives, in a thread of its own, within the time for the answer."""
        return await self._in_time(request, self.aside(make))

    async def aside(self, make: Callable[[], Result]) -> Result:
        """What `make` gives, in a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, make)

    async def outputs(self, request: PredictRequest, model: LoadedModel, images: Images) -> Outputs:
        """What the model answers; gives the work up when the deadline passes or the client goes.

        Raises:
            TandemError: OverloadedError, DeadlineError, InferenceError, NotFiniteError or UnavailableError.
            ClientGoneError: The client went away.
        """
        work = self._batcher.submit(model, images, deadline=request.deadline)
        return await self._wait(work, request.receive)

    def shorten(self, request: PredictRequest, seconds: float) -> None:
        """Has the answer be due in so many seconds, if it is not due earlier."""
        request.deadline = min(request.deadline, self._clock() + seconds)

    def _seconds(self, request: PredictRequest) -> float:
        text = request.header(TIMEOUT_HEADER)
        if not text:
            return self._limits.answer_seconds
        try:
            asked = float(text)
        except ValueError:
            asked = math.nan
        if not 0 < asked < math.inf:
            raise InstancesError(f"{text[:40]!r} is not a number of seconds above 0", where=TIMEOUT_HEADER.decode())
        return min(asked, self._limits.answer_seconds)

    async def _in_time(self, request: PredictRequest, work: Awaitable[Result]) -> Result:
        try:
            async with asyncio.timeout(max(0.0, request.deadline - self._clock())):
                return await work
        except TimeoutError as error:
            raise DeadlineError("the model or the picture was not ready in time", hint="Ask again") from error

    async def _wait(self, work: Work, receive: Receive) -> Outputs:
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
                raise ClientGoneError from None
            raise
        finally:
            for timer in timers:
                timer.cancel()
            if watcher is not None:
                watcher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watcher


def number(version: str) -> int:
    """The step that a version names.

    Raises:
        NotFoundError: It is no number, so there is no such version.
    """
    if not (version.isascii() and version.isdecimal() and len(version) <= 15):
        raise NotFoundError(f"there is no version {version[:40]!r}", hint="Versions are steps")
    return int(version)


def refusal(error: TandemError) -> Reply:
    """An error in the one shape of the gateway's own API."""
    body = json.dumps({"error": error.as_json()}).encode()
    return Reply(status_of(error), [*content(body), *refusal_headers(error, status_of(error))], body)


def plain_refusal(error: TandemError) -> Reply:
    """An error as TensorFlow Serving and the Open Inference Protocol have it: a sentence; bad input is 400.

    Beside it stand `code`, `message`, `where` and `hint`, which neither protocol knows and neither forbids.
    """
    status = plain_status(status_of(error))
    body = json.dumps({"error": str(error), **error.as_json()}).encode()
    return Reply(status, [*content(body), *refusal_headers(error, status)], body)


def refusal_headers(error: TandemError, status: int) -> Headers:
    """What else an error says: when to come back, and that the rest of a body is not read."""
    headers: Headers = []
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers.append((b"retry-after", str(RETRY_SECONDS).encode()))
    if isinstance(error, BodyTooLargeError | BodyTimeoutError):
        headers.append((b"connection", b"close"))
    return headers
