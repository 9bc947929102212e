"""Examples of what routes take and answer, for OpenAPI: by route, as a reader meets them in the description.

Models whose example is needed in several places, such as a run's view, have it themselves. `tests/gateway/openapi/`
checks that every route has one, and that each is what its schema says.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from services.gateway.errors import ErrorAnswer
from services.gateway.views import RUN_ID, RunView


def _own(kind: type[BaseModel]) -> Any:
    extra: Any = kind.model_config["json_schema_extra"]
    return extra["example"]


_FIGURES = {
    "step": 300,
    "weights": "ema",
    "decay": 0.9999,
    "status": "judged",
    "problem": None,
    "examples": 2000,
    "precision_at_1": 0.6815,
    "interval": [0.6608, 0.7015],
    "top_k": 5,
    "precision_at_k": 0.9615,
    "loss": 0.912,
    "calibration_error": 0.031,
    "comparison": None,
    "drift": None,
    "recalibrated_precision_at_1": None,
    "seconds": 2.4,
    "evaluator": "evaluator",
    "time": 1772360142.5,
}
_MODEL = {
    "model": "best",
    "run": RUN_ID,
    "name": "shapes",
    "step": 300,
    "weights": "ema",
    "decay": 0.9999,
    "precision_at_1": 0.6815,
    "classes": ["disc", "ring"],
    "input_shape": [32, 32, 3],
    "aliases": {"best": 300, "latest": 300},
    "steps": [300, 200],
    "loaded": True,
}
_ALIAS = {
    "alias": "stable",
    "step": 300,
    "precision_at_1": 0.6815,
    "moves": "by hand",
    "pinned": False,
    "canary": None,
    "reason": "looks right",
    "time": 1772360190.0,
    "history": [{"step": 200, "precision_at_1": 0.642, "reason": "moved by hand", "time": 1772360120.0}],
}
_STATUS = [{"version": "300", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
_SIGNATURE = {
    "inputs": {"images": {"dtype": "DT_UINT8", "tensor_shape": {"dim": [{"size": "-1", "name": ""}]}}},
    "outputs": {"probabilities": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1", "name": ""}]}}},
    "method_name": "tensorflow/serving/predict",
}
_METADATA = {
    "model_spec": {"name": "best", "signature_name": "", "version": "300"},
    "metadata": {"signature_def": {"signature_def": {"serving_default": _SIGNATURE}}},
}
_TENSORS = {
    "name": "best",
    "versions": ["300"],
    "platform": "onnxruntime_onnx",
    "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}],
    "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
}
_INFERRED = {
    "model_name": "best",
    "model_version": "300",
    "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.93, 0.07]}],
}
_PIXELS = [[[200, 40, 40], [200, 40, 40]], [[200, 40, 40], [200, 40, 40]]]
_TENSOR = {"name": "images", "shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [200, 40, 40] * 4}

ANSWERS: Mapping[str, Any] = {
    "GET /v1/runs": {
        "runs": [_own(RunView)],
        "next": f"1772360100.0~{RUN_ID}",
        "unread": 0,
        "problems": [
            {"run": "old", "code": "corrupt_record", "message": "not JSON", "where": "spec.json", "hint": None}
        ],
    },
    "POST /v1/runs:{transition}": {"results": [{"run": RUN_ID, "status": 202, "error": None}]},
    "GET /v1/runs/{run}/series": {
        "run": RUN_ID,
        "step": [10, 20],
        "loss": [4.68, 4.63],
        "cross_entropy": [2.32, 2.27],
        "average_loss": [4.68, 4.67],
        "learning_rate": [0.1, 0.1],
        "examples_per_second": [1211.1, 1480.0],
        "time": [1772360110.2, 1772360111.1],
    },
    "GET /v1/runs/{run}/evaluations": {"evaluations": [_FIGURES]},
    "GET /v1/runs/{run}/evaluations/{step}/{weights}": {
        **{
            name: value
            for name, value in _FIGURES.items()
            if name not in {"calibration_error", "recalibrated_precision_at_1"}
        },
        "schema_version": 1,
        "run": RUN_ID,
        "confusion": [[700, 300], [337, 663]],
        "classes": [
            {"name": "disc", "examples": 1000, "precision": 0.675, "recall": 0.7, "f1": 0.687},
            {"name": "ring", "examples": 1000, "precision": 0.688, "recall": 0.663, "f1": 0.675},
        ],
        "calibration": None,
        "recalibrated": None,
        "answers": None,
        "manifest_sha256": "",
        "appearance": "",
    },
    "GET /v1/runs/{run}/evaluations/{step}/{weights}/flips": {
        "run": RUN_ID,
        "judged": {"step": 300, "weights": "ema-0.9999", "precision_at_1": 0.6815},
        "against": {"step": 200, "weights": "ema-0.9999", "precision_at_1": 0.65},
        "classes": ["disc", "ring"],
        "examples": 2000,
        "both_right": 1200,
        "both_wrong": 537,
        "right_to_wrong_count": 100,
        "wrong_to_right_count": 163,
        "p_value": 0.0001,
        "method": "chi-square",
        "right_to_wrong": [{"index": 12, "label": 0, "before": 0, "after": 1}],
        "wrong_to_right": [{"index": 3, "label": 1, "before": 0, "after": 1}],
    },
    "GET /v1/runs/{run}/checkpoints": {
        "checkpoints": [
            {
                "step": 300,
                "weights": ["raw", "ema-0.9999"],
                "bytes": 12822144,
                "loss": 1.42,
                "time": 1772360140.0,
                "pinned": False,
                "exported": True,
                "evaluations": [_FIGURES],
                "problem": None,
            }
        ]
    },
    "GET /v1/runs/{run}/events": {
        "events": [
            {
                "time": 1772360142.5,
                "service": "evaluator",
                "kind": "judged",
                "message": "judged step 300",
                "step": 300,
                "details": {},
            }
        ],
        "cursor": "ge:1204,te:388,ee:95",
        "more": False,
    },
    "GET /v1/runs/{run}/logs": {
        "lines": [
            {
                "time": 1772360140.0,
                "level": "info",
                "service": "trainer",
                "message": "committed step 300",
                "traceback": None,
                "details": {},
            }
        ],
        "cursor": "tl:20480,gl:9112",
        "more": False,
    },
    "GET /v1/recipes": {"recipes": [{"name": "shapes", "values": {"name": "shapes", "steps": 1200}, "problem": None}]},
    "GET /v1/slots": {
        "slots": [{"name": "slot-0", "state": "busy", "run": RUN_ID, "pid": 32211, "devices": None, "problem": None}]
    },
    "GET /v1/specs/schema": {"type": "object", "properties": {"steps": {"type": "integer", "minimum": 1}}},
    "POST /v1/specs:check": {
        "problems": [{"field": "steps", "message": "Input should be greater than or equal to 1"}],
        "spec": None,
    },
    "GET /v1/models": {"models": [_MODEL]},
    "GET /v1/models/{model}": {**_MODEL, "ready": True, "model_version_status": _STATUS},
    "POST /v1/models/{model}:classify": {
        **{name: _MODEL[name] for name in ("model", "run", "step", "weights", "decay", "precision_at_1")},
        "predictions": [{"classes": [{"label": "disc", "probability": 0.93}, {"label": "ring", "probability": 0.07}]}],
    },
    "POST /v1/models/{model}:predict": {"predictions": [[0.93, 0.07]]},
    "POST /v1/models/{model}/versions/{version}:predict": {"predictions": [[0.93, 0.07]]},
    "POST /v1/models/{model}/labels/{label}:predict": {"predictions": [[0.93, 0.07]]},
    "GET /v1/models/{model}/metadata": _METADATA,
    "GET /v1/models/{model}/versions/{version}/metadata": _METADATA,
    "GET /v1/models/{model}/labels/{label}/metadata": _METADATA,
    "GET /v1/models/{model}/versions/{version}": {"model_version_status": _STATUS},
    "GET /v1/models/{model}/labels/{label}": {"model_version_status": _STATUS},
    "GET /v2": {"name": "tandem", "version": "0.1.0", "extensions": ["binary_tensor_data", "classification"]},
    "GET /v2/models/{model}": _TENSORS,
    "GET /v2/models/{model}/versions/{version}": _TENSORS,
    "GET /v2/models/{model}/ready": {"name": "best", "ready": True},
    "GET /v2/models/{model}/versions/{version}/ready": {"name": "best", "ready": True},
    "POST /v2/models/{model}/infer": _INFERRED,
    "POST /v2/models/{model}/versions/{version}/infer": _INFERRED,
    "GET /v1/models/{model}/aliases": {"model": "best", "run": RUN_ID, "aliases": [_ALIAS]},
    "PUT /v1/models/{model}/aliases/{alias}": _ALIAS,
    "POST /v1/models/{model}/aliases/{alias}:rollback": _ALIAS | {"step": 200, "reason": "too slow", "history": []},
    "PUT /v1/models/{model}/aliases/{alias}/canary": _ALIAS | {"canary": {"step": 400, "share": 0.1}},
    "DELETE /v1/models/{model}/aliases/{alias}/canary": _ALIAS,
    "GET /livez": {"live": True},
    "GET /readyz": {"ready": True, "reasons": {}},
    "GET /metrics": 'tandem_run_state{run="20260301-101500-shapes-3f9c",state="running"} 1.0\n',
}
"""What a success looks like."""

BODIES: Mapping[str, Any] = {
    "PATCH /v1/runs/{run}": {"priority": 10, "labels": {"owner": "me", "draft": None}},
    "POST /v1/runs/{run}:stop": {"reason": "good enough"},
    "POST /v1/runs/{run}:kill": {"reason": "wrong data"},
    "POST /v1/runs/{run}:restart": {"reason": "the disk has room again"},
    "POST /v1/models/{model}/aliases/{alias}:rollback": {"reason": "too slow"},
    "POST /v1/models/{model}:classify": {"instances": [_PIXELS]},
    "POST /v1/models/{model}:predict": {"instances": [_PIXELS]},
    "POST /v1/models/{model}/versions/{version}:predict": {"instances": [_PIXELS]},
    "POST /v1/models/{model}/labels/{label}:predict": {"inputs": [_PIXELS]},
    "POST /v2/models/{model}/infer": {"inputs": [_TENSOR]},
    "POST /v2/models/{model}/versions/{version}/infer": {"inputs": [_TENSOR]},
}
"""JSON that is sent."""

PARAMETERS: Mapping[str, str] = {
    "model": "a run's id, a run's name (its newest run), or `best`",
    "version": "the step of an export",
    "label": "`best` or `latest`",
    "step": "of the checkpoint",
    "transition": "what is asked of each run",
}
"""What parameters are that no route describes itself."""


def exemplify(schema: dict[str, Any]) -> None:
    """Adds all of it to a description of the application."""
    for kind in (RunView, ErrorAnswer):
        schema["components"]["schemas"][kind.__name__]["example"] = _own(kind)  # FastAPI has taken nulls out
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            route = f"{method.upper()} {path}"
            content = operation.get("requestBody", {}).get("content", {})
            if route in BODIES and "application/json" in content:
                content["application/json"]["example"] = BODIES[route]
            if route in ANSWERS:
                for answered in operation["responses"]["200"].get("content", {}).values():
                    answered["example"] = ANSWERS[route]
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and "description" not in parameter:
                    parameter["description"] = PARAMETERS.get(parameter["name"], "")
