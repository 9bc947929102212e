"""The peer mosec: a server in Rust in front of Python workers, which it hands what waits together.

`python serving_mosec.py --address 127.0.0.1 --port PORT` in an environment that has mosec, ONNX Runtime and Pillow; the
variable SERVING_MODEL names the model.onnx.
"""

import io
import json
import os

import numpy as np
import onnxruntime
from mosec import Server, Worker
from PIL import Image

TOP, MAX_BATCH, WAIT_MS = 5, 32, 1


class Classify(Worker):
    """Decodes pictures and classifies them together."""

    def __init__(self) -> None:
        super().__init__()
        self._session = onnxruntime.InferenceSession(os.environ["SERVING_MODEL"], providers=["CPUExecutionProvider"])

    def deserialize(self, data: bytes) -> bytes:
        """The body as it is."""
        return data

    def serialize(self, data: list[dict[str, object]]) -> bytes:
        """The answer as JSON."""
        return json.dumps({"classes": data}).encode()

    def forward(self, data: list[bytes]) -> list[list[dict[str, object]]]:
        """The most probable classes of each picture."""
        images = np.stack([np.asarray(Image.open(io.BytesIO(body)).convert("RGB").resize((32, 32))) for body in data])
        logits = self._session.run(["logits"], {"images": images})[0]
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponents / exponents.sum(axis=1, keepdims=True)
        order = np.argsort(-probabilities, axis=1)[:, :TOP]
        return [
            [{"label": str(index), "probability": float(row[index])} for index in best]
            for row, best in zip(probabilities, order, strict=True)
        ]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, num=1, max_batch_size=MAX_BATCH, max_wait_time=WAIT_MS)
    server.run()
