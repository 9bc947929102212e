"""Exports that always answer the same numbers, so that an answer tells which of them it came from."""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.atomic import committing
from shared.layout import RunFolder
from shared.records import ExportManifest, FileRecord, encode_record

Shape = tuple[int, int, int]
SIDE = 96


def logits(step: int) -> np.ndarray:
    """What the model of a step answers to any picture: class `step` modulo ten, and no two steps the same numbers."""
    values = np.zeros(10, np.float32)
    values[step % 10] = 5.0 + step // 10 / 8
    return values


def model(step: int, shape: Shape = (8, 8, 3), channels: int = 0) -> bytes:
    """A model that answers `logits(step)`, whatever the picture.

    With `channels` it convolves so many for each picture, to no end, and takes twice as long for two of them.
    """
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"]),
        helper.make_node("Gemm", ["flat", "kernel", "bias"], ["answer"]),
    ]
    values = [
        numpy_helper.from_array(np.zeros((math.prod(shape), 10), np.float32), "kernel"),
        numpy_helper.from_array(logits(step), "bias"),
    ]
    if channels:
        nodes += [
            helper.make_node("ReduceMean", ["numbers"], ["mean"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Expand", ["mean", "size"], ["wide"]),
            helper.make_node("Conv", ["wide", "filters"], ["convolved"], pads=[1, 1, 1, 1]),
            helper.make_node("ReduceMean", ["convolved"], ["work"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["work", "zero"], ["nothing"]),
            helper.make_node("Unsqueeze", ["nothing", "last"], ["column"]),
            helper.make_node("Add", ["answer", "column"], ["logits"]),
        ]
        values += [
            numpy_helper.from_array(np.array([1, channels, SIDE, SIDE], np.int64), "size"),
            numpy_helper.from_array(np.full((channels, channels, 3, 3), 1e-3, np.float32), "filters"),
            numpy_helper.from_array(np.float32(0), "zero"),
            numpy_helper.from_array(np.array([1], np.int64), "last"),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["answer"], ["logits"]))
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *shape])
    answer = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "constant", [images], [answer], values)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def export(
    run: RunFolder,
    step: int,
    *,
    classes: tuple[str, ...],
    precision: float,
    shape: Shape = (8, 8, 3),
    channels: int = 0,
    damaged: bool = False,
) -> None:
    """Commits such an export, or one whose model is not what its manifest says."""
    with committing(run.export(step)) as folder:
        digest = folder.write("model.onnx", model(step, shape, channels))
        manifest = ExportManifest(
            run=run.id,
            step=step,
            weights="ema",
            decay=0.9999,
            files={"model.onnx": FileRecord(size=digest.size, sha256="0" * 64 if damaged else digest.sha256)},
            input_shape=shape,
            classes=classes,
            precision_at_1=precision,
            greatest_difference=0.0,
            time=0.0,
        )
        folder.write("manifest.json", encode_record(manifest))
