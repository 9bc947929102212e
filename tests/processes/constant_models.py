"""Exports that always answer the same numbers, so that an answer tells which of them it came from."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.atomic import committing
from shared.layout import RunFolder
from shared.records import ExportManifest, FileRecord, encode_record


def logits(step: int) -> np.ndarray:
    """What the model of a step answers to any picture: class `step` modulo ten, and no two steps the same numbers."""
    values = np.zeros(10, np.float32)
    values[step % 10] = 5.0 + step // 10 / 8
    return values


def model(step: int) -> bytes:
    """A model that answers `logits(step)`, whatever the picture."""
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"]),
        helper.make_node("Gemm", ["flat", "kernel", "bias"], ["logits"]),
    ]
    values = [
        numpy_helper.from_array(np.zeros((192, 10), np.float32), "kernel"),
        numpy_helper.from_array(logits(step), "bias"),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 8, 8, 3])
    answer = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "constant", [images], [answer], values)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def export(run: RunFolder, step: int, *, classes: tuple[str, ...], precision: float) -> None:
    """Commits such an export."""
    with committing(run.export(step)) as folder:
        digest = folder.write("model.onnx", model(step))
        manifest = ExportManifest(
            run=run.id,
            step=step,
            weights="ema",
            decay=0.9999,
            files={"model.onnx": FileRecord(size=digest.size, sha256=digest.sha256)},
            input_shape=(8, 8, 3),
            classes=classes,
            precision_at_1=precision,
            greatest_difference=0.0,
            time=0.0,
        )
        folder.write("manifest.json", encode_record(manifest))
