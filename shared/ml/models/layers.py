"""What the networks are made of that Keras does not have, and seeds for their initial weights."""

import hashlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def layer_seed(seed: int, layer: str) -> int:
    """A seed for the initial weights of one layer, so that adding a layer leaves those of the others as they were."""
    digest = hashlib.sha256(f"{seed}/{layer}".encode()).digest()
    return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF


def batch_normalization(*, momentum: float, epsilon: float, name: str) -> Any:
    """Batch normalisation by the statistics of the global batch, on however many devices it is spread."""
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return keras.layers.BatchNormalization(momentum=momentum, epsilon=epsilon, synchronized=several, name=name)


class LocalResponseNormalization(keras.layers.Layer):  # type: ignore[misc]
    """y = x / (bias + alpha * sum of x² over the channels within `radius`) ** 0.75, as `tf.nn.lrn` with beta 0.75.

    The sum over neighbouring channels is a product with a banded matrix of ones, and the power is made of square
    roots, since both run in vectorised kernels; `tf.nn.lrn` has none, forwards or backwards. The gradient is written
    out, which takes half the passes over memory that the derivative of each single operation would.

    Args:
        radius: How many channels on either side are summed.
        bias: Added to the sum. Positive.
        alpha: Factor of the sum.
        name: The layer's name.
    """

    def __init__(self, *, radius: int, bias: float, alpha: float, name: str) -> None:
        super().__init__(name=name)
        self._radius = radius
        self._bias = bias
        self._alpha = alpha

    def call(self, inputs: Any) -> Any:
        """Normalises floating-point [n, height, width, channels]."""
        channels = inputs.shape[-1]
        place = np.arange(channels)
        band = self._alpha * (np.abs(place[:, None] - place[None, :]) <= self._radius)
        band = tf.constant(band, inputs.dtype)

        def summed(values: Any) -> Any:
            return tf.reshape(tf.matmul(tf.reshape(values, [-1, channels]), band), tf.shape(values))

        def normalize(x: Any) -> tuple[Any, Callable[[Any], Any]]:
            root = tf.math.rsqrt(self._bias + summed(tf.square(x)))
            factor = root * tf.sqrt(root)

            def gradient(upstream: Any) -> Any:
                scaled = upstream * factor
                return scaled - 1.5 * x * summed(scaled * x * tf.square(root))

            return x * factor, gradient

        return tf.custom_gradient(normalize)(inputs)


class PooledConvolution(keras.layers.Layer):  # type: ignore[misc]
    """Convolution 5 x 5, bias, ReLU, then the greatest of 3 x 3 in steps of 2, all with margins of zeros (SAME).

    The greatest is taken before bias and ReLU, which is the same since both leave the order of numbers as it is, and
    leaves them a quarter of the numbers to work on.

    Args:
        filters: Channels of the result.
        kernel_initializer: Of `kernel`, [5, 5, channels, filters].
        bias_initializer: Of `bias`, [filters].
        name: The layer's name.
    """

    def __init__(self, *, filters: int, kernel_initializer: Any, bias_initializer: Any, name: str) -> None:
        super().__init__(name=name)
        self._filters = filters
        self._kernel_initializer = kernel_initializer
        self._bias_initializer = bias_initializer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes `kernel` and `bias`."""
        shape = (5, 5, input_shape[-1], self._filters)
        self.kernel = self.add_weight(shape=shape, initializer=self._kernel_initializer, name="kernel")
        self.bias = self.add_weight(shape=(self._filters,), initializer=self._bias_initializer, name="bias")

    def call(self, inputs: Any) -> Any:
        """From [n, height, width, channels] to [n, height / 2, width / 2, filters], halves rounded up."""
        greatest = tf.nn.max_pool2d(tf.nn.conv2d(inputs, self.kernel, 1, "SAME"), 3, 2, "SAME")
        return tf.nn.relu(tf.nn.bias_add(greatest, self.bias))
