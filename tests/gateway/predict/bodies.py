"""Bodies of requests that are to be classified, and asking a classifier with one."""

import asyncio
import base64
import json
from typing import Any

import numpy as np
from PIL import Image

from tests.gateway.predict.pictures import encoded

JSON = "application/json"
RAW = "application/octet-stream"
BLACK = np.zeros((8, 8, 3), np.uint8)


def png(pixels: np.ndarray = BLACK) -> bytes:
    return encoded(Image.fromarray(pixels))


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def instances(*values: Any) -> bytes:
    return json.dumps({"instances": list(values)}).encode()


def ask(serving, body: bytes, **options: Any) -> tuple[Any, Any]:
    """The reply and its parsed body."""
    reply = asyncio.run(asyncio.wait_for(serving.ask(body, **options), 20))
    return reply, json.loads(reply.body)
