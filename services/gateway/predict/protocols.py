"""The routes of other people's protocols: TensorFlow Serving's REST API, and the Open Inference Protocol.

Their errors have the shape of their protocol: `{"error": "<a sentence>"}`, with `code`, `message`, `where` and
`hint` beside it.
"""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from services.gateway.access.scopes import needs, needs_no_key
from services.gateway.convertors import NAME
from services.gateway.predict.openinference import OpenInference
from services.gateway.predict.requests import PredictRequest, Reply
from services.gateway.predict.service import CLIENT_GONE
from services.gateway.predict.tfserving import TensorFlowServing

PREDICT = ":predict"
INFER = "/infer"


class PlainErrorAnswer(BaseModel):
    """The body of every answer of these routes that is not a success."""

    error: str = Field(description="what was wrong, where, and what to do about it")
    code: str = Field(description="stable; what programs match on")
    message: str
    where: str | None = None
    hint: str | None = None


def plainly(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route's declaration says about its errors, for OpenAPI."""
    return {
        status: {"model": PlainErrorAnswer, "description": HTTPStatus(status).phrase}
        for status in sorted({400, 404, 413, 422, 500, 503, *statuses})
    }


def respond(reply: Reply) -> Response:
    """The reply as routes give it."""
    if reply.status == CLIENT_GONE:
        return Response(status_code=CLIENT_GONE)
    response = Response(reply.body, status_code=reply.status)
    response.raw_headers = reply.headers
    return response


def _asked(request: Request, name: str, *, version: str | None = None, label: str | None = None) -> PredictRequest:
    return PredictRequest(scope=request.scope, receive=request.receive, name=name, version=version, label=label)


def tensorflow_serving(serving: TensorFlowServing) -> APIRouter:
    """`:predict`, metadata and the status of versions and labels; a model's own status is one of tandem's routes."""
    routes = APIRouter(tags=["TensorFlow Serving"], prefix="/v1/models/{model}")
    predicting: dict[str, Any] = {"responses": plainly(408, 413, 415, 429, 504), "openapi_extra": _PREDICT_BODY}

    @routes.post(PREDICT, **predicting)
    @needs("predict")
    async def predict(model: str, request: Request) -> Response:
        """What the model answers to `instances` or `inputs`, as TensorFlow Serving would."""
        return respond(await serving.predict(_asked(request, model)))

    @routes.post(f"/versions/{{version}}{PREDICT}", **predicting)
    @needs("predict")
    async def predict_version(model: str, version: str, request: Request) -> Response:
        """The same by the export of one step."""
        return respond(await serving.predict(_asked(request, model, version=version)))

    @routes.post(f"/labels/{{label}}{PREDICT}", **predicting)
    @needs("predict")
    async def predict_label(model: str, label: str, request: Request) -> Response:
        """The same by the export that a label names, an alias of the run."""
        return respond(await serving.predict(_asked(request, model, label=label)))

    @routes.get("/metadata", responses=plainly())
    @needs("read", "predict")
    async def show_metadata(model: str) -> Response:
        """The model's signatures."""
        return respond(serving.metadata(model))

    @routes.get("/versions/{version}/metadata", responses=plainly())
    @needs("read", "predict")
    async def show_version_metadata(model: str, version: str) -> Response:
        """The signatures of the export of one step."""
        return respond(serving.metadata(model, version=version))

    @routes.get("/labels/{label}/metadata", responses=plainly())
    @needs("read", "predict")
    async def show_label_metadata(model: str, label: str) -> Response:
        """The signatures of the export that a label names."""
        return respond(serving.metadata(model, label=label))

    @routes.get(f"/versions/{{version:{NAME}}}", responses=plainly())
    @needs("read", "predict")
    async def show_version(model: str, version: str) -> Response:
        """The state of the export of one step."""
        return respond(serving.status(model, version=version))

    @routes.get(f"/labels/{{label:{NAME}}}", responses=plainly())
    @needs("read", "predict")
    async def show_label(model: str, label: str) -> Response:
        """The state of the export that a label names."""
        return respond(serving.status(model, label=label))

    return routes


def open_inference(inference: OpenInference) -> APIRouter:
    """The routes under `/v2`."""
    routes = APIRouter(tags=["Open Inference Protocol"], prefix="/v2")
    inferring: dict[str, Any] = {"responses": plainly(408, 413, 415, 429, 504), "openapi_extra": _INFER_BODY}

    @routes.get("", responses=plainly())
    @needs("read", "predict")
    async def show_server() -> Response:
        """The server's name, version and extensions."""
        return respond(inference.server())

    @routes.get("/health/live", response_class=Response, responses=plainly())
    @needs_no_key
    async def live() -> Response:
        """That the gateway is there."""
        return respond(inference.live())

    @routes.get("/health/ready", response_class=Response, responses=plainly())
    @needs_no_key
    async def ready() -> Response:
        """Whether the best model can be asked now."""
        return respond(inference.ready())

    @routes.get("/models/{model}", responses=plainly())
    @needs("read", "predict")
    async def show_model(model: str) -> Response:
        """A model's versions, inputs and outputs."""
        return respond(inference.metadata(model))

    @routes.get("/models/{model}/versions/{version}", responses=plainly())
    @needs("read", "predict")
    async def show_version(model: str, version: str) -> Response:
        """The inputs and outputs of the export of one step."""
        return respond(inference.metadata(model, version=version))

    @routes.get("/models/{model}/ready", responses=plainly())
    @needs("read", "predict")
    async def model_ready(model: str) -> Response:
        """Whether the model can be asked now."""
        return respond(inference.model_ready(model))

    @routes.get("/models/{model}/versions/{version}/ready", responses=plainly())
    @needs("read", "predict")
    async def version_ready(model: str, version: str) -> Response:
        """Whether the export of one step can be asked now."""
        return respond(inference.model_ready(model, version=version))

    @routes.post(f"/models/{{model}}{INFER}", **inferring)
    @needs("predict")
    async def infer(model: str, request: Request) -> Response:
        """What the model answers to the tensor `images`."""
        return respond(await inference.infer(_asked(request, model)))

    @routes.post(f"/models/{{model}}/versions/{{version}}{INFER}", **inferring)
    @needs("predict")
    async def infer_version(model: str, version: str, request: Request) -> Response:
        """The same by the export of one step."""
        return respond(await inference.infer(_asked(request, model, version=version)))

    return routes


def _body(*required: str, one_of: tuple[str, ...] = (), binary: bool = False, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": list(required)}
    if one_of:
        schema["oneOf"] = [{"required": [name]} for name in one_of]
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if binary:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": content}}


_PREDICT_BODY = _body(
    one_of=("instances", "inputs"),
    instances={"type": "array", "items": {}},
    inputs={},
    signature_name={"type": "string", "enum": ["serving_default", "logits"]},
)
_INFER_BODY = _body(
    "inputs",
    binary=True,
    id={"type": "string"},
    parameters={"type": "object"},
    inputs={"type": "array", "items": {"type": "object"}},
    outputs={"type": "array", "items": {"type": "object"}},
)
