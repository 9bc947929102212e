"""The routes of predicting, and how they get into the application.

`POST /v1/models/{model}:classify` is declared like any route, for OpenAPI and for whoever mounts the router alone;
`install` also puts `ClassifyFirst` in front of routing, inside of all other middleware, where it answers the same
requests with the same code and spares them what FastAPI does around a route.
"""

from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel, Field
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.access.scopes import needs
from services.gateway.convertors import NAME
from services.gateway.errors import documented
from services.gateway.predict.aliases import AUTOMATIC, BEST
from services.gateway.predict.classify import DEFAULT_TOP, MOST_TOP, Classifier
from services.gateway.predict.predictor import Predictor
from services.gateway.predict.protocols import plainly, respond
from services.gateway.predict.service import plain_refusal
from services.gateway.predict.store import RunExports
from services.gateway.predict.tfserving import TensorFlowServing
from shared.errors import TandemError

PREFIX = "/v1/models/"
SUFFIX = ":classify"
PATH = f"{PREFIX}{{model}}{SUFFIX}"


class ClassView(BaseModel):
    """One class and how probable it is."""

    label: str
    probability: float = Field(ge=0.0, le=1.0)


class PredictionView(BaseModel):
    """The most probable classes of one picture, most probable first."""

    classes: list[ClassView]


class AnswerView(BaseModel):
    """What was recognised, and which weights did."""

    model: str = Field(description="the model that was asked")
    run: str
    step: int
    weights: Literal["raw", "ema"]
    decay: float | None = Field(description="of the moving average")
    precision_at_1: float = Field(description="of these weights on the test set")
    predictions: list[PredictionView] = Field(description="one for each picture, in order")


class ModelView(BaseModel):
    """What answers for a model now."""

    model: str
    run: str
    name: str | None
    step: int
    weights: Literal["raw", "ema"]
    decay: float | None
    precision_at_1: float
    classes: list[str] = Field(description="in the order of their labels")
    input_shape: tuple[int, int, int] = Field(description="height, width, channels")
    aliases: dict[str, int] = Field(description="the steps that the run's aliases point at")
    steps: list[int] = Field(description="of its exports, best first; each can be asked as `<model>@<step>`")
    loaded: bool = Field(description="false: the first request waits until it is loaded")


class VersionStatusView(BaseModel):
    """The state of one export, as TensorFlow Serving says it."""

    version: str = Field(description="the step")
    state: Literal["AVAILABLE", "END"] = Field(description="END: it cannot be loaded; the status says why")
    status: dict[str, str] = Field(description="error_code and error_message")


class ModelStatusView(ModelView):
    """What answers for a model, and the state of each of its exports, newest first."""

    ready: bool = Field(description="whether any of its exports can be asked")
    model_version_status: list[VersionStatusView]


class ModelsView(BaseModel):
    """All that can be asked, newest run first; `best` stands before them all."""

    models: list[ModelView]


class ClassifyFirst:
    """Answers requests to classify before they reach routing; hands on all others.

    Args:
        app: The rest of the application.
        classifier: What answers.
    """

    def __init__(self, app: ASGIApp, *, classifier: Classifier) -> None:
        self._app = app
        self._classifier = classifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection."""
        if scope["type"] == "http" and scope["method"] == "POST":
            path: str = scope["path"]
            name = path[len(PREFIX) : -len(SUFFIX)]
            if path.startswith(PREFIX) and path.endswith(SUFFIX) and name and "/" not in name:
                scope["route"] = _Template
                await self._classifier.send(name, scope, receive, send)
                return
        await self._app(scope, receive, send)


class _Template:
    """Stands for the route in `scope["route"]`, by which requests are counted."""

    path = PATH


def install(app: FastAPI, *, classifier: Classifier) -> None:
    """Lets requests to classify skip routing. Before the application starts, after its other middleware is added."""
    app.user_middleware.append(Middleware(ClassifyFirst, classifier=classifier))


def router(*, predictor: Predictor, classifier: Classifier, serving: TensorFlowServing) -> APIRouter:
    """The routes.

    Args:
        predictor: Gives out models.
        classifier: Answers requests to classify.
        serving: Tells the states of versions.
    """
    routes = APIRouter(tags=["models"])

    @routes.get("/v1/models", responses=documented())
    @needs("read", "predict")
    async def list_models() -> ModelsView:
        """Every run that has a judged and exported checkpoint, and which one answers for it now."""
        catalog = predictor.catalog()
        views = [_view(run.id, run, predictor) for run in catalog.runs if run.exports]
        if catalog.best is not None:
            views.insert(0, _view(BEST, catalog.best, predictor))
        return ModelsView(models=views)

    @routes.get(f"{PREFIX}{{model:{NAME}}}", response_model=ModelStatusView, responses=plainly())
    @needs("read", "predict")
    async def show_model(model: str) -> Any:
        """What answers now for a run's id, a run's name (its newest run), or `best`; and each version's state."""
        try:
            run = predictor.catalog().resolve(model)
        except TandemError as error:
            return respond(plain_refusal(error))
        view = _view(model, run, predictor).model_dump()
        states = serving.states(run.exports)
        return view | {
            "ready": any(each["state"] == "AVAILABLE" for each in states),
            "model_version_status": states,
        }

    @routes.post(
        PATH,
        response_model=AnswerView,
        responses=documented(404, 408, 415, 429, 503, 504),
        openapi_extra=_classify_schema(),
    )
    @needs("predict")
    async def classify(model: str, request: Request) -> Response:
        """Recognises pictures.

        `model` is a run's id, a run's name (its newest run that has a judged checkpoint), or `best` (the best judged
        checkpoint of the newest run that has one); with `@` and a step, that run's export of that step. A picture of
        any size is turned as its EXIF orientation says, cut to the largest centred window of the model's aspect ratio,
        scaled, and laid on white where it is transparent.
        """
        return respond(await classifier.reply(model, request.scope, request.receive))

    return routes


def _view(asked: str, run: RunExports, predictor: Predictor) -> ModelView:
    loaded = predictor.answering(run)
    manifest = loaded.manifest if loaded else run.current().manifest
    return ModelView(
        model=asked,
        run=run.id,
        name=run.name,
        step=manifest.step,
        weights=manifest.weights,
        decay=manifest.decay,
        precision_at_1=manifest.precision_at_1,
        classes=list(manifest.classes),
        input_shape=manifest.input_shape,
        aliases={alias: run.aimed(alias) for alias in sorted({*run.aliases, *AUTOMATIC})},
        steps=[each.manifest.step for each in run.exports],
        loaded=loaded is not None,
    )


def _classify_schema() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    pixel = {"type": "integer", "minimum": 0, "maximum": 255}
    nested: dict[str, Any] = {"type": "array", "items": {"type": "array", "items": {"type": "array", "items": pixel}}}
    encoded = {"type": "object", "required": ["b64"], "properties": {"b64": {"type": "string", "format": "byte"}}}
    instances = {"type": "array", "minItems": 1, "items": {"anyOf": [nested, encoded]}}
    body = {"type": "object", "required": ["instances"], "properties": {"instances": instances}}
    kinds = ("image/png", "image/jpeg", "image/webp", "multipart/form-data", "application/octet-stream")
    return {
        "requestBody": {
            "required": True,
            "content": {**dict.fromkeys(kinds, binary), "application/json": {"schema": body}},
        },
        "parameters": [
            {
                "name": "top",
                "in": "query",
                "description": "how many classes of each picture",
                "schema": {"type": "integer", "minimum": 1, "maximum": MOST_TOP, "default": DEFAULT_TOP},
            },
            {
                "name": "shape",
                "in": "query",
                "description": "of an application/octet-stream body: height,width,3 or n,height,width,3",
                "schema": {"type": "string"},
            },
        ],
    }
