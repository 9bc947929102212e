"""A network and its preprocessing as an ONNX graph whose weights can be exchanged.

The graph is converted once for each network. Its weights enter the conversion as inputs, not as values, so no
optimisation can bake one into a constant derived from it; only afterwards do they become initializers, under the names
that they bear in checkpoints. Whatever folding pays (a kernel's transposition, say) ONNX Runtime does when it loads.
"""

from typing import Any

import numpy as np
import onnx
import onnx.defs
import onnx.numpy_helper
import tensorflow as tf
import tf2onnx

from services.evaluator.judging import NotExportableError
from shared.checkpoints import Arrays
from shared.data.statistics import ChannelStatistics
from shared.ml.preprocess import evaluation_view
from shared.spec import AugmentSpec

OPSET = 18
INPUT, OUTPUT = "images", "logits"

_GREATEST_BYTES = 2**31 - 2**20  # protocol buffers end at 2 GiB


class ExchangeableGraph:
    """An ONNX graph without weights, made by `convert`, and the names of the weights that it takes."""

    def __init__(self, *, proto: Any, names: frozenset[str]) -> None:
        self._proto = proto
        self._names = names

    def with_weights(self, weights: Arrays) -> bytes:
        """The whole model with these weights, which go into it bit by bit.

        Args:
            weights: An array for each of the network's weights, by name.

        Raises:
            NotExportableError: The names differ, or the model would be larger than ONNX files can be.
        """
        if weights.keys() != self._names:
            different = ", ".join(sorted(weights.keys() ^ self._names))
            raise NotExportableError(f"weights and network differ in {different}")
        size = sum(array.nbytes for array in weights.values())
        if size > _GREATEST_BYTES:
            raise NotExportableError(f"{size} bytes of weights do not fit into one ONNX file")
        whole = onnx.ModelProto()
        whole.CopyFrom(self._proto)
        for name, array in sorted(weights.items()):
            whole.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        data: bytes = whole.SerializeToString()
        return data


def convert(
    model: Any,
    *,
    image_shape: tuple[int, int, int],
    augment: AugmentSpec,
    statistics: ChannelStatistics | None,
) -> ExchangeableGraph:
    """Converts a Keras model with the evaluation view in front of it.

    Args:
        model: From float32 views [n, …] to float32 logits [n, classes].
        image_shape: Of the data set's pictures.
        augment: `crop` and `standardize` are used.
        statistics: Of the training split, where the view needs them.

    Returns:
        A graph from `images`, uint8 [n, height, width, channels], to `logits`, float32 [n, classes]; n is free.

    Raises:
        NotExportableError: The network uses something that ONNX cannot express.
    """
    weights = list(model.weights)
    place = {id(variable): index for index, variable in enumerate(weights)}
    signature = [
        tf.TensorSpec([None, *image_shape], tf.uint8, name=INPUT),
        *(tf.TensorSpec(variable.shape, variable.dtype, name=f"weight_{i}") for i, variable in enumerate(weights)),
    ]

    def answer(images: Any, *arrays: Any) -> dict[str, Any]:
        def values(variables: Any) -> list[Any]:
            return [arrays[place[id(item)]] if id(item) in place else item.value for item in variables]

        view = evaluation_view(images, augment, statistics)
        trainable, others = values(model.trainable_variables), values(model.non_trainable_variables)
        logits, _ = model.stateless_call(trainable, others, view, training=False)
        return {OUTPUT: logits}

    try:
        function = tf.function(answer, input_signature=signature)
        proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    except Exception as error:  # tf2onnx and TensorFlow raise whatever comes to hand for what they cannot convert
        raise NotExportableError(f"the network cannot be converted to ONNX: {error}") from error
    return ExchangeableGraph(
        proto=_without_weight_inputs(proto, {f"weight_{i}": item.path for i, item in enumerate(weights)}),
        names=frozenset(item.path for item in weights),
    )


def _without_weight_inputs(proto: Any, names: dict[str, str]) -> Any:
    """Turns inputs into names that initializers will bear. An input without initializer would have to be fed."""
    graph = proto.graph
    if {item.name for item in graph.output} != {OUTPUT}:
        raise NotExportableError(f"the graph has the outputs {[item.name for item in graph.output]}")
    if unknown := sorted(_unknown_operations(graph)):
        raise NotExportableError(f"the network uses what ONNX does not have: {', '.join(unknown)}")
    kept = [item for item in graph.input if item.name not in names]
    del graph.input[:]
    graph.input.extend(kept)
    _rename(graph, names)
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    return proto


def _unknown_operations(graph: Any) -> set[str]:
    # tf2onnx only logs what it cannot convert, and leaves TensorFlow's operation in the graph.
    unknown = {node.op_type for node in graph.node if not onnx.defs.has(node.op_type, node.domain)}
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return unknown.union(*(_unknown_operations(part) for part in inner))


def _rename(graph: Any, names: dict[str, str]) -> None:
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names)
