"""Asks a gateway with NVIDIA's client of the Open Inference Protocol.

`ask_triton.py HOST:PORT MODEL VERSION`; prints JSON.
"""

import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

PIXELS = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), np.uint8)


def main() -> None:
    address, model, version = sys.argv[1:]
    client = triton.InferenceServerClient(address)
    told = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready(model),
        "version ready": client.is_model_ready(model, version),
        "nobody ready": client.is_model_ready("nobody"),
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata(model, version),
        "answers": {},
    }
    for binary in (True, False):
        images = triton.InferInput("images", list(PIXELS.shape), "UINT8")
        images.set_data_from_numpy(PIXELS, binary_data=binary)
        both = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("logits", "probabilities")]
        for packing in (None, "gzip", "deflate"):
            for asked in (None, both):
                answer = client.infer(
                    model,
                    [images],
                    model_version=version,
                    outputs=asked,
                    request_id="7",
                    timeout=5_000_000,
                    request_compression_algorithm=packing,
                    response_compression_algorithm=packing,
                )
                told["answers"][f"{binary} {packing} {asked is None}"] = {
                    "id": answer.get_response()["id"],
                    "version": answer.get_response()["model_version"],
                    "logits": answer.as_numpy("logits").tolist(),
                    "probabilities": answer.as_numpy("probabilities").tolist(),
                }
        classes = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=1)
        answer = client.infer(model, [images], outputs=[classes])
        texts = answer.as_numpy("probabilities").ravel()
        told[f"classes {binary}"] = [text.decode() if isinstance(text, bytes) else text for text in texts]
    images = triton.InferInput("images", [1, 8, 8], "UINT8")
    images.set_data_from_numpy(PIXELS[0, :, :, 0][np.newaxis])
    try:
        client.infer(model, [images])
    except InferenceServerException as error:
        told["refused"] = [error.status(), error.message()]
    waiting = [client.async_infer(model, [_images()]) for _ in range(20)]
    told["at once"] = len([each.get_result().as_numpy("logits") for each in waiting])
    client.close()
    sys.stdout.write(json.dumps(told))


def _images() -> triton.InferInput:
    images = triton.InferInput("images", list(PIXELS.shape), "UINT8")
    images.set_data_from_numpy(PIXELS)
    return images


if __name__ == "__main__":
    main()
