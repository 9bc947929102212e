"""A model of the tutorial network's shape, with random weights, for benchmarks of serving.

The preprocessing is inside, as in an export: uint8 [n, 32, 32, 3] → central 24x24 crop → standardised per picture.
Speed does not depend on what the weights know.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CROP, CLASSES = 32, 24, 10
OPSET = 17


def tutorial_network(*, seed: int = 0, banded: bool = True) -> bytes:
    """The model's bytes: `images` uint8 [n, 32, 32, 3] → `logits` float32 [n, 10].

    `banded` says how the response normalisation is written: as tandem's exports have it, a product with a banded
    matrix and square roots, or as the operator LRN, which is what Keras' own export makes of `tf.nn.lrn`. Both
    compute the same.
    """
    random = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    values: list[onnx.TensorProto] = []

    def constant(name: str, value: np.ndarray) -> str:
        values.append(numpy_helper.from_array(value, name))
        return name

    def weights(name: str, *shape: int) -> str:
        return constant(name, (random.standard_normal(shape) * 0.05).astype(np.float32))

    def node(kind: str, *inputs: str, **attributes: object) -> str:
        output = f"value{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def integers(name: str, *numbers: int) -> str:
        return constant(name, np.array(numbers, np.int64))

    def lrn(inputs: str, name: str) -> str:
        if not banded:
            return node("LRN", inputs, size=9, alpha=0.001, beta=0.75, bias=1.0)
        distance = np.abs(np.subtract.outer(np.arange(64), np.arange(64)))
        band = constant(f"{name}.band", ((distance <= 4) * (0.001 / 9)).astype(np.float32).reshape(64, 64, 1, 1))
        bias = constant(f"{name}.bias", np.ones(64, np.float32))
        root = node("Sqrt", node("Conv", node("Mul", inputs, inputs), band, bias, kernel_shape=[1, 1]))
        return node("Div", inputs, node("Mul", root, node("Sqrt", root)))

    def pool(inputs: str) -> str:
        return node("MaxPool", inputs, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")

    def convolution(inputs: str, name: str, channels: int) -> str:
        kernel, bias = weights(f"{name}.kernel", 64, channels, 5, 5), weights(f"{name}.bias", 64)
        return node("Relu", node("Conv", inputs, kernel, bias, kernel_shape=[5, 5], auto_pad="SAME_UPPER"))

    def dense(inputs: str, name: str, rows: int, columns: int) -> str:
        return node("Gemm", inputs, weights(f"{name}.kernel", rows, columns), weights(f"{name}.bias", columns))

    margin = (SIDE - CROP) // 2
    crop = node(
        "Slice",
        "images",
        integers("from", margin, margin),
        integers("to", margin + CROP, margin + CROP),
        integers("axes", 1, 2),
    )
    numbers = node("Transpose", node("Cast", crop, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    centred = node("Sub", numbers, node("ReduceMean", numbers, axes=[1, 2, 3]))
    deviation = node("Sqrt", node("ReduceMean", node("Mul", centred, centred), axes=[1, 2, 3]))
    floor = constant("floor", np.array(1 / np.sqrt(CROP * CROP * 3), np.float32))
    standardised = node("Div", centred, node("Max", deviation, floor))
    first = lrn(pool(convolution(standardised, "conv1", 3)), "norm1")
    second = pool(lrn(convolution(first, "conv2", 64), "norm2"))
    local3 = node("Relu", dense(node("Flatten", second), "local3", 6 * 6 * 64, 384))
    local4 = node("Relu", dense(local3, "local4", 384, 192))
    nodes.append(helper.make_node("Identity", [dense(local4, "softmax_linear", 192, CLASSES)], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "tutorial",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        values,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
