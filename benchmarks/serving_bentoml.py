"""The peer BentoML, with adaptive batching.

`bentoml serve serving_bentoml:Classifier --port PORT` in this folder, in an environment that has BentoML, ONNX Runtime
and Pillow; the variable SERVING_MODEL names the model.onnx.
"""

import os

import bentoml
import numpy as np
import onnxruntime
from PIL import Image

TOP, MAX_BATCH = 5, 32


@bentoml.service(workers=1, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Model:
    """Classifies what waits together."""

    def __init__(self) -> None:
        self._session = onnxruntime.InferenceSession(os.environ["SERVING_MODEL"], providers=["CPUExecutionProvider"])

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=30_000)
    def classify(self, pictures: list[Image.Image]) -> list[list[dict[str, object]]]:
        """The most probable classes of each picture."""
        images = np.stack([np.asarray(picture.convert("RGB").resize((32, 32))) for picture in pictures])
        logits = self._session.run(["logits"], {"images": images})[0]
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponents / exponents.sum(axis=1, keepdims=True)
        order = np.argsort(-probabilities, axis=1)[:, :TOP]
        return [
            [{"label": str(index), "probability": float(row[index])} for index in best]
            for row, best in zip(probabilities, order, strict=True)
        ]


@bentoml.service(workers=1, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Classifier:
    """Takes a picture as the body of a request, and hands it to what batches."""

    model = bentoml.depends(Model)

    @bentoml.api
    async def classify(self, picture: Image.Image, /) -> list[dict[str, object]]:
        """The most probable classes of one picture."""
        return (await self.model.to_async.classify([picture]))[0]
