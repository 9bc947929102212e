"""A network's weights by name, as arrays: what lies in `raw.safetensors` and in `ema-<decay>.safetensors`.

The names are those of Keras, `<layer>/<variable>`: every trainable variable, and the moving statistics of batch
normalisation, so that weights of either kind are whole.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from shared.checkpoints import Arrays
from shared.errors import CorruptCheckpointError


def named_variables(model: Any) -> dict[str, Any]:
    """The model's variables by name, as TensorFlow's own, in the model's order."""
    return {variable.path: variable.value for variable in model.weights}


def random_states(model: Any) -> dict[str, Any]:
    """The states of the model's random generators (of dropout, say) by name, as TensorFlow's own variables."""
    weights = {id(variable) for variable in model.weights}
    return {f"random/{variable.path}": variable.value for variable in model.variables if id(variable) not in weights}


def read_variables(variables: Mapping[str, Any]) -> dict[str, npt.NDArray[np.generic]]:
    """Copies in host memory of TensorFlow variables, by the same names. Waits for the device."""
    return {name: variable.numpy() for name, variable in variables.items()}


def read_weights(model: Any) -> dict[str, npt.NDArray[np.generic]]:
    """Copies of the model's weights, by name."""
    return read_variables(named_variables(model))


def assign_variables(variables: Mapping[str, Any], arrays: Arrays, *, source: str) -> None:
    """Sets TensorFlow variables from arrays of the same names, all of them or, if anything does not fit, none.

    Args:
        variables: What is set.
        arrays: An array for each variable, of its shape and dtype, and no other.
        source: Where the arrays came from, for the error.

    Raises:
        CorruptCheckpointError: A tensor is missing, unknown, or of another shape or dtype; names it.
    """
    for name in arrays:
        if name not in variables:
            raise CorruptCheckpointError(f"has a tensor {name} that the network does not have", where=source)
    for name, variable in variables.items():
        array = arrays.get(name)
        if array is None:
            raise CorruptCheckpointError(f"lacks the tensor {name}", where=source)
        if array.shape != tuple(variable.shape):
            shapes = f"{list(array.shape)} instead of {variable.shape.as_list()}"
            raise CorruptCheckpointError(f"{name} is of shape {shapes}", where=source)
        if array.dtype != variable.dtype.as_numpy_dtype:
            raise CorruptCheckpointError(f"{name} is {array.dtype} instead of {variable.dtype.name}", where=source)
    for name, variable in variables.items():
        variable.assign(arrays[name])


def assign_here(variable: Any, value: Any) -> None:
    """Sets a variable within a graph; of a variable with a copy on each device, that of the device at work alone."""
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)


def assign_weights(model: Any, arrays: Arrays, *, source: str) -> None:
    """Sets the model's weights; see `assign_variables`."""
    assign_variables(named_variables(model), arrays, source=source)
