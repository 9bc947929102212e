"""`POST /v1/models/{model}:classify`: from a request's bytes to labels and probabilities.

This is the gateway's hot path, so small pictures are decoded right here, because handing them to a thread would take
longer; everything else is decoded in a pool.
"""

import heapq
import json

import numpy as np
from starlette.types import Receive, Scope, Send

from services.gateway.predict import bodies
from services.gateway.predict.batching import Probabilities
from services.gateway.predict.bodies import BodyReader
from services.gateway.predict.images import decode_image, inspect_image
from services.gateway.predict.models import Images, LoadedModel
from services.gateway.predict.multipart import MULTIPART
from services.gateway.predict.requests import PredictRequest, Reply, content
from services.gateway.predict.service import CLIENT_GONE, INLINE_BYTES, PredictService, refusal
from shared.errors import ImageError, InstancesError

DEFAULT_TOP = 5
MOST_TOP = 1000
INLINE_PIXELS = 128 * 128


class Classifier:
    """Answers requests to classify.

    Args:
        service: What they have in common with all requests to predict.
        reader: From bodies to images.
    """

    def __init__(self, *, service: PredictService, reader: BodyReader) -> None:
        self._service = service
        self._reader = reader

    async def send(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one ASGI request to classify with the model `name`."""
        reply = await self.reply(name, scope, receive)
        if reply.status == CLIENT_GONE:
            return
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def reply(self, name: str, scope: Scope, receive: Receive) -> Reply:
        """The answer to one ASGI request; errors that are meant for people are answers too."""
        request = PredictRequest(scope=scope, receive=receive, name=name)
        return await self._service.reply(request, answer=self._answer, refusal=refusal)

    async def _answer(self, request: PredictRequest) -> Reply:
        request.read_query("shape", "top")
        top = _top(request.query)
        body = await self._service.body(request)
        model = await self._service.model(request)
        images = await self._images(request, model, body)
        outputs = await self._service.outputs(request, model, images)
        return _answer(request.name, model, outputs.probabilities, top)

    async def _images(self, request: PredictRequest, model: LoadedModel, body: bytes) -> Images:
        kind = bodies.media_type(request.header(b"content-type"), body)
        shape = model.manifest.input_shape
        if kind == bodies.RAW:
            return self._reader.raw(body, shape=request.query.get("shape"), input_shape=shape)
        if kind == bodies.JSON:
            return await self._service.pictures(request, lambda: self._reader.json(body, input_shape=shape))
        if kind == MULTIPART:
            said = request.header(b"content-type")
            return await self._service.pictures(
                request, lambda: self._reader.multipart(body, content_type=said, input_shape=shape)
            )
        try:
            return await self._picture(request, body, height=shape[0], width=shape[1])
        except ImageError as error:
            error.where = error.where or "body"
            raise

    async def _picture(self, request: PredictRequest, body: bytes, *, height: int, width: int) -> Images:
        limits = self._reader.limits

        def decode() -> Images:
            return decode_image(inspect_image(body, limits=limits), height=height, width=width)[np.newaxis]

        if len(body) <= INLINE_BYTES:
            header = inspect_image(body, limits=limits)
            if header.width * header.height <= INLINE_PIXELS:
                return decode_image(header, height=height, width=width)[np.newaxis]
        return await self._service.pictures(request, decode)


def _top(query: dict[str, str]) -> int:
    text = query.get("top", str(DEFAULT_TOP))
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MOST_TOP):
        raise InstancesError(f"{text[:80]!r} is not an integer from 1 to {MOST_TOP}", where="top")
    return int(text)


def _answer(name: str, model: LoadedModel, probabilities: Probabilities, top: int) -> Reply:
    labels = model.labels
    predictions = [
        '{"classes": ['
        + ", ".join(f'{{"label": {labels[index]}, "probability": {row[index]:.7g}}}' for index in _greatest(row, top))
        + "]}"
        for row in probabilities.tolist()
    ]
    text = f'{{"model": {json.dumps(name)}, {model.origin}, "predictions": [{", ".join(predictions)}]}}'
    body = text.encode()
    return Reply(200, [*content(body), *model.headers], body)


def _greatest(row: list[float], count: int) -> list[int]:
    """Where the greatest numbers stand, greatest first; of equal ones the first."""
    return heapq.nlargest(count, range(len(row)), key=row.__getitem__)
