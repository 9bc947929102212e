"""Volumes with small ONNX models on them, and a classifier over such a volume."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fastapi import APIRouter
from onnx import TensorProto, helper, numpy_helper
from prometheus_client import CollectorRegistry

from services.gateway.predict import alias_routes, protocols, routes
from services.gateway.predict.batching import Batcher
from services.gateway.predict.bodies import BodyReader
from services.gateway.predict.classify import Classifier
from services.gateway.predict.images import ImageLimits
from services.gateway.predict.metrics import PredictMetrics
from services.gateway.predict.models import OnnxLoader
from services.gateway.predict.openinference import OpenInference
from services.gateway.predict.predictor import Predictor
from services.gateway.predict.requests import RequestLimits
from services.gateway.predict.service import PredictService
from services.gateway.predict.store import ExportStore
from services.gateway.predict.tfserving import TensorFlowServing
from shared.atomic import committing
from shared.layout import Volume
from shared.records import ExportManifest, FileRecord, encode_record, write_record
from shared.spec import RunSpec
from tests.gateway.predict.asking import A

SIDE = 8
CLASSES = tuple(f"class-{number}" for number in range(10))


def bias_of(step: int) -> np.ndarray:
    """The logits that the model of `step` answers to a black picture: no two steps have the same."""
    logits = np.zeros(len(CLASSES), np.float32)
    logits[step % len(CLASSES)] = 3.0 + step / 100
    return logits


def onnx_model(*, bias: np.ndarray, side: int = SIDE, scale: float = 0.0) -> bytes:
    """A linear model: logits = scale * sum(pixels) + bias."""
    classes = len(bias)
    kernel = np.full((side * side * 3, classes), scale, np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["numbers"], ["flat"]),
            helper.make_node("Gemm", ["flat", "kernel", "bias"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", side, side, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias.astype(np.float32), "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@dataclass
class ModelVolume:
    """A volume, and how to put exports on it."""

    root: Path
    volume: Volume = field(init=False)

    def __post_init__(self) -> None:
        self.volume = Volume(self.root)

    def add_run(self, run: str, *, name: str = "run") -> None:
        write_record(self.volume.run(run).spec, RunSpec(name=name))

    def export(self, run: str, step: int, *, precision: float = 0.5, **changes: Any) -> Path:
        """Commits an export; `data` is the model's bytes, `manifest` changes of its manifest."""
        folder = self.volume.run(run)
        if not folder.spec.exists():
            self.add_run(run)
        data = changes.get("data") or onnx_model(bias=bias_of(step))
        with committing(folder.export(step)) as commit:
            digest = commit.write("model.onnx", data)
            manifest = ExportManifest(
                run=run,
                step=step,
                weights="ema",
                decay=0.9999,
                files={"model.onnx": FileRecord(size=digest.size, sha256=digest.sha256)},
                input_shape=(SIDE, SIDE, 3),
                classes=CLASSES,
                precision_at_1=precision,
                greatest_difference=0.0,
                time=0.0,
            ).model_copy(update=changes.get("manifest", {}))
            commit.write("manifest.json", encode_record(manifest))
        return folder.export(step)


@dataclass
class Serving:
    """A classifier with everything below it, and a way to ask it without a network."""

    models: ModelVolume
    registry: CollectorRegistry
    predictor: Predictor
    batcher: Batcher
    classifier: Classifier
    tensorflow: TensorFlowServing
    inference: OpenInference
    told: list[tuple[str, str]]

    def routers(self) -> list[APIRouter]:
        """What `Predicting.routers` gives."""
        return [
            routes.router(predictor=self.predictor, classifier=self.classifier, serving=self.tensorflow),
            protocols.tensorflow_serving(self.tensorflow),
            protocols.open_inference(self.inference),
            alias_routes.router(predictor=self.predictor),
        ]

    async def ask(
        self,
        body: bytes,
        *,
        model: str = "best",
        content_type: str = "image/png",
        query: str = "",
        headers: list[tuple[bytes, bytes]] | None = None,
        receive: Callable[[], Any] | None = None,
    ) -> Any:
        """The reply to one request."""
        sent = [{"type": "http.request", "body": body, "more_body": False}]

        async def default() -> Any:
            if sent:
                return sent.pop()
            await never()

        scope = {
            "type": "http",
            "method": "POST",
            "query_string": query.encode(),
            "headers": [(b"content-type", content_type.encode()), *(headers or [])],
        }
        return await self.classifier.reply(model, scope, receive or default)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


async def never() -> None:
    """Waits for ever, as `receive` does once the whole request has come and the client stays."""
    import asyncio

    await asyncio.Event().wait()


@pytest.fixture
def models(tmp_path: Path) -> ModelVolume:
    return ModelVolume(tmp_path / "volume")


@pytest.fixture
def make_model() -> Callable[..., bytes]:
    return onnx_model


@pytest.fixture
def make_serving(models: ModelVolume) -> Iterator[Callable[..., Serving]]:
    """Builds a running classifier; stops it after the test. The volume is looked at only when the test says so."""
    made: list[tuple[Serving, ThreadPoolExecutor]] = []

    def make(
        *,
        max_batch: int = 16,
        max_waiting: int = 64,
        max_loaded: int = 4,
        start_batcher: bool = True,
        limits: RequestLimits | None = None,
        image_limits: ImageLimits | None = None,
        load: Any = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = lambda: 5.0,
    ) -> Serving:
        registry = CollectorRegistry()
        told: list[tuple[str, str]] = []
        metrics = PredictMetrics(registry)
        predictor = Predictor(
            volume=models.volume,
            store=ExportStore(models.volume),
            load=load or OnnxLoader(threads=1, largest_batch=max_batch),
            metrics=metrics,
            clock=clock,
            wall=wall,
            tell=lambda run, kind, message, **details: told.append((run, message)),
            max_loaded=max_loaded,
        )
        batcher = Batcher(clock=time.monotonic, metrics=metrics, max_waiting=max_waiting)
        decoders = ThreadPoolExecutor(2)
        service = PredictService(
            predictor=predictor,
            batcher=batcher,
            decoders=decoders,
            metrics=metrics,
            clock=time.monotonic,
            limits=limits or RequestLimits(),
        )
        reader = BodyReader(limits=image_limits or ImageLimits(), most_instances=max_batch)
        serving = Serving(
            models,
            registry,
            predictor,
            batcher,
            Classifier(service=service, reader=reader),
            TensorFlowServing(service=service, predictor=predictor, reader=reader),
            OpenInference(service=service, predictor=predictor, reader=reader),
            told,
        )
        predictor.refresh()
        if start_batcher:
            batcher.start()
        made.append((serving, decoders))
        return serving

    yield make
    for serving, decoders in made:
        serving.predictor.stop()
        serving.batcher.stop()
        decoders.shutdown()


@pytest.fixture
def serving(models: ModelVolume, make_serving: Callable[..., Serving]) -> Serving:
    """A classifier over one run, A, with three exports, of which the second is the best."""
    for step, precision in ((10, 0.5), (20, 0.8), (30, 0.6)):
        models.export(A, step, precision=precision)
    return make_serving()
