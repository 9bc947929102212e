"""Asks a gateway as programs for TensorFlow Serving do, and reads its answers into that project's own messages.

`ask_tensorflow_serving.py URL MODEL VERSION`; prints JSON.
"""

import json
import sys

import requests
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

BLACK = [[[0, 0, 0]] * 8] * 8


def main() -> None:
    url, model, version = sys.argv[1:]
    base = f"{url}/v1/models/{model}"
    told = {}
    for name, place in (("model", ""), ("version", f"/versions/{version}"), ("label", "/labels/best")):
        status = {"model_version_status": requests.get(base + place, timeout=20).json()["model_version_status"]}
        message = json_format.ParseDict(status, get_model_status_pb2.GetModelStatusResponse())
        told[f"state of {name}"] = [
            [each.version, get_model_status_pb2.ModelVersionStatus.State.Name(each.state), each.status.error_code]
            for each in message.model_version_status
        ]
        metadata = requests.get(f"{base}{place}/metadata", timeout=20).json()
        signatures = json_format.ParseDict(
            metadata["metadata"]["signature_def"], get_model_metadata_pb2.SignatureDefMap()
        ).signature_def
        told[f"signatures of {name}"] = {
            key: [
                {put: [tensor.dtype, [side.size for side in tensor.tensor_shape.dim]] for put, tensor in puts.items()}
                for puts in (signature.inputs, signature.outputs)
            ]
            for key, signature in signatures.items()
        }
        rows = requests.post(f"{base}{place}:predict", data=json.dumps({"instances": [BLACK]}), timeout=20)
        rows.raise_for_status()
        told[f"rows of {name}"] = rows.json()["predictions"]
        column = {"signature_name": "logits", "inputs": {"images": [BLACK]}}
        told[f"column of {name}"] = requests.post(f"{base}{place}:predict", json=column, timeout=20).json()["outputs"]
    refused = requests.post(f"{base}:predict", json={"instances": [[1.0]]}, timeout=20)
    told["refused"] = [refused.status_code, refused.json()["error"]]
    missing = requests.get(f"{url}/v1/models/nobody", timeout=20)
    told["missing"] = [missing.status_code, missing.json()["error"]]
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
