"""What the networks are made of that Keras does not have, and seeds for their initial weights."""

import hashlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def layer_seed(seed: int, layer: str) -> int:
    """A seed for the initial weights of one layer, so that adding a layer leaves those of the others as they were."""
    digest = hashlib.sha256(f"{seed}/{layer}".encode()).digest()
    return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF


class LocalResponseNormalization(keras.layers.Layer):  # type: ignore[misc]
    """y = x / (bias + alpha * sum of x² over the channels within `radius`) ** 0.75, as `tf.nn.lrn` with beta 0.75.

    The sum over neighbouring channels is a product with a banded matrix of ones, and the power is made of square
    roots, since both run in vectorised kernels; `tf.nn.lrn` has none, forwards or backwards.

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
        squares = tf.reshape(tf.square(inputs), [-1, channels])
        scale = self._bias + tf.reshape(tf.matmul(squares, tf.constant(band, inputs.dtype)), tf.shape(inputs))
        root = tf.math.rsqrt(scale)
        return inputs * root * tf.sqrt(root)
