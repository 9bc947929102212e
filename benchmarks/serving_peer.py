"""The peer that one would write by hand: FastAPI, ONNX Runtime, a picture in, labels out. One process, no batching.

`python -m benchmarks.serving_peer MODEL PORT` with the path of a model.onnx.
"""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image

TOP = 5


def application(model: Path) -> FastAPI:
    """The application that classifies with `model`."""
    app = FastAPI()
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    _, height, width, _ = session.get_inputs()[0].shape

    def classify(body: bytes) -> list[dict[str, Any]]:
        image = Image.open(io.BytesIO(body)).convert("RGB").resize((width, height))
        logits = session.run(["logits"], {"images": np.asarray(image)[np.newaxis]})[0][0]
        exponents = np.exp(logits - logits.max())
        probabilities = exponents / exponents.sum()
        best = np.argsort(-probabilities)[:TOP]
        return [{"label": str(index), "probability": float(probabilities[index])} for index in best]

    @app.post("/classify")
    async def route(request: Request) -> dict[str, Any]:
        return {"classes": await run_in_threadpool(classify, await request.body())}

    return app


if __name__ == "__main__":
    uvicorn.run(application(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
