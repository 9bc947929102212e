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


def batch_normalization(
    *,
    momentum: float,
    epsilon: float,
    name: str,
    scale: bool = True,
    shift: bool = True,
    dtype: str | None = None,
) -> Any:
    """Batch normalisation by the statistics of the global batch, on however many devices it is spread.

    Args:
        momentum: Share of the moving statistics that stays, each step.
        epsilon: Added to the variance. At least 1e-5 for GPUs.
        name: The layer's name.
        scale: Whether there is a `gamma` to learn.
        shift: Whether there is a `beta` to learn.
        dtype: What it computes in, if that is not what layers do by default.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        return keras.layers.BatchNormalization(
            momentum=momentum, epsilon=epsilon, scale=scale, center=shift, synchronized=True, dtype=dtype, name=name
        )
    return FusedBatchNormalization(momentum=momentum, epsilon=epsilon, scale=scale, shift=shift, dtype=dtype, name=name)


class FusedBatchNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Batch normalisation over [n, height, width, channels] as Keras has it, in TensorFlow's fused kernels.

    Keras 3 puts it together from a dozen operations; a small residual network trains a quarter faster with one. The
    weights and their names are the same.

    Args:
        momentum: Share of the moving statistics that stays, each step.
        epsilon: Added to the variance.
        scale: Whether there is a `gamma` to learn.
        shift: Whether there is a `beta` to learn.
        dtype: What it computes in, if that is not what layers do by default. Weights are float32.
        name: The layer's name.
    """

    def __init__(
        self, *, momentum: float, epsilon: float, scale: bool, shift: bool, dtype: str | None, name: str
    ) -> None:
        super().__init__(dtype=dtype, name=name)
        self.momentum = momentum
        self._epsilon = epsilon
        self._scale = scale
        self._shift = shift

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes `gamma`, `beta`, `moving_mean` and `moving_variance`, [channels] each."""

        def add(name: str, start: str, *, trainable: bool = True) -> Any:
            shape = (input_shape[-1],)
            return self.add_weight(shape=shape, initializer=start, trainable=trainable, autocast=False, name=name)

        if self._scale:
            self.gamma = add("gamma", "ones")
        if self._shift:
            self.beta = add("beta", "zeros")
        self.moving_mean = add("moving_mean", "zeros", trainable=False)
        self.moving_variance = add("moving_variance", "ones", trainable=False)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Normalises by the batch, and moves the moving statistics, or by those statistics."""
        channels = inputs.shape[-1]
        gamma = tf.convert_to_tensor(self.gamma) if self._scale else tf.ones([channels])
        beta = tf.convert_to_tensor(self.beta) if self._shift else tf.zeros([channels])
        if not training:
            mean, variance = tf.convert_to_tensor(self.moving_mean), tf.convert_to_tensor(self.moving_variance)
            return _fused(inputs, gamma, beta, mean, variance, epsilon=self._epsilon, is_training=False)[0]
        none = tf.zeros([0])
        normalized, mean, variance, *_ = _fused(
            inputs, gamma, beta, none, none, epsilon=self._epsilon, is_training=True
        )
        # The kernel answers with the unbiased variance; Keras keeps the plain one.
        values = tf.cast(tf.size(inputs) // channels, tf.float32)
        for moving, newest in ((self.moving_mean, mean), (self.moving_variance, variance * (values - 1) / values)):
            moving.assign(self.momentum * moving + (1 - self.momentum) * newest)
        return normalized


def _fused(
    inputs: Any, gamma: Any, beta: Any, mean: Any, variance: Any, *, epsilon: float, is_training: bool
) -> tuple[Any, ...]:
    found: tuple[Any, ...] = tf.raw_ops.FusedBatchNormV3(
        x=inputs, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=epsilon, is_training=is_training
    )
    return found


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
        exact = tf.float64 if inputs.dtype == tf.float64 else tf.float32
        band = tf.constant(band, exact)

        # In float32 whatever the layers around it compute in: a share of 1e-4 added to 1 is nothing in bfloat16.
        def summed(values: Any) -> Any:
            return tf.reshape(tf.matmul(tf.reshape(values, [-1, channels]), band), tf.shape(values))

        def normalize(x: Any) -> tuple[Any, Callable[[Any], Any]]:
            root = tf.math.rsqrt(self._bias + summed(tf.square(x)))
            factor = root * tf.sqrt(root)

            def gradient(upstream: Any) -> Any:
                scaled = upstream * factor
                return scaled - 1.5 * x * summed(scaled * x * tf.square(root))

            return x * factor, gradient

        return tf.cast(tf.custom_gradient(normalize)(tf.cast(inputs, exact)), inputs.dtype)


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
