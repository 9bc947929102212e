"""Puts the parts of predicting together. Called by `__main__` alone."""

import time
from concurrent.futures import ThreadPoolExecutor

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry

from services.gateway.predict import alias_routes, protocols, routes
from services.gateway.predict.aliases import Tell
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
from services.gateway.predict.settings import PredictSettings
from services.gateway.predict.store import ExportStore
from services.gateway.predict.tfserving import TensorFlowServing
from shared.layout import Volume


class Predicting:
    """Everything that predicts, from the volume to the routes.

    Args:
        settings: What it is told.
        volume: Where exports lie.
        registry: Where its metrics are declared.
        tell: Writes an event of a run.
    """

    def __init__(self, *, settings: PredictSettings, volume: Volume, registry: CollectorRegistry, tell: Tell) -> None:
        metrics = PredictMetrics(registry)
        self.predictor = Predictor(
            volume=volume,
            store=ExportStore(volume),
            load=OnnxLoader(
                threads=settings.predict_threads,
                largest_batch=max(settings.predict_max_batch, settings.predict_together),
            ),
            metrics=metrics,
            clock=time.monotonic,
            wall=time.time,
            tell=tell,
            max_loaded=settings.predict_max_loaded,
            poll_seconds=settings.predict_poll_seconds,
        )
        self._batcher = Batcher(
            clock=time.monotonic,
            metrics=metrics,
            together=settings.predict_together,
            max_waiting=settings.predict_max_waiting,
            workers=settings.predict_workers,
        )
        self._decoders = ThreadPoolExecutor(settings.predict_decoders, thread_name_prefix="predict-decode")
        service = PredictService(
            predictor=self.predictor,
            batcher=self._batcher,
            decoders=self._decoders,
            metrics=metrics,
            clock=time.monotonic,
            limits=RequestLimits(
                body_bytes=settings.predict_body_bytes,
                body_seconds=settings.predict_body_seconds,
                answer_seconds=settings.predict_answer_seconds,
            ),
        )
        reader = BodyReader(
            limits=ImageLimits(bytes=settings.predict_image_bytes, pixels=settings.predict_image_pixels),
            most_instances=settings.predict_max_batch,
        )
        self._classifier = Classifier(service=service, reader=reader)
        self._serving = TensorFlowServing(service=service, predictor=self.predictor, reader=reader)
        self._inference = OpenInference(service=service, predictor=self.predictor, reader=reader)

    def routers(self) -> list[APIRouter]:
        """The routes, for `create_app`."""
        return [
            routes.router(predictor=self.predictor, classifier=self._classifier, serving=self._serving),
            protocols.tensorflow_serving(self._serving),
            protocols.open_inference(self._inference),
            alias_routes.router(predictor=self.predictor),
        ]

    def install(self, app: FastAPI) -> None:
        """Lets requests to classify skip routing; before the application starts."""
        routes.install(app, classifier=self._classifier)

    def start(self) -> None:
        """Starts to answer, and to follow the volume."""
        self._batcher.start()
        self.predictor.start()

    def stop(self) -> None:
        """Answers what waits, and stops."""
        self.predictor.stop()
        self._batcher.stop()
        self._decoders.shutdown()
