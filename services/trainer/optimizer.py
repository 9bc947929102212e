"""Stochastic gradient descent with (Nesterov) momentum and decoupled weight decay, in fused kernels; and Muon.

    v ← momentum·v + g,    w ← (1 - rate·decay)·w - rate·(g + momentum·v  if Nesterov, else v)

Weight decay applies to kernels alone, not to biases or to the scales of batch normalisation. Biases, those of batch
normalisation included, may have a rate of their own: rate·bias_rate.

Muon (Keller Jordan and others 2024, https://kellerjordan.github.io/posts/muon/) is for the kernels of convolutions, one
matrix of [filters, all else] each: what SGD would subtract is first replaced by the nearest matrix whose rows are
orthogonal and of length 1, so that no direction waits for the few that gradients are greatest in. Its rate is
rate·muon_rate.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from shared.ml.weights import assign_here
from shared.spec import OptimizerSpec

ROUNDS, FIRST, THIRD, FIFTH = 3, 3.4445, -4.7750, 2.0315
"""Of the iteration: p(x) = FIRST·x + THIRD·x³ + FIFTH·x⁵ for each singular value."""


class Optimizer:
    """Moves trainable weights against their gradients.

    Args:
        weights: The trainable variables, by name.
        spec: The rule.
    """

    def __init__(self, *, weights: Mapping[str, Any], spec: OptimizerSpec) -> None:
        self._weights = dict(weights)
        self._spec = spec
        self._velocities = (
            {name: tf.Variable(tf.zeros_like(weight), trainable=False) for name, weight in weights.items()}
            if spec.momentum
            else {}
        )

    @property
    def variables(self) -> dict[str, Any]:
        """What it remembers between steps, by name: `momentum/<weight>`, or nothing for plain descent."""
        return {f"momentum/{name}": velocity for name, velocity in self._velocities.items()}

    def update(self, gradients: Mapping[str, Any], *, rate: Any) -> None:
        """Moves every weight once.

        Args:
            gradients: A tensor for each weight, by its name.
            rate: The learning rate, a float32 scalar.
        """
        spec = self._spec
        muon_rate = rate * spec.muon_rate
        bias_rate = rate if spec.bias_rate == 1.0 else rate * spec.bias_rate
        for name, weight in self._weights.items():
            own_rate = bias_rate if name.endswith(("/bias", "/beta")) else rate
            if spec.weight_decay and name.endswith("/kernel"):
                assign_here(weight, weight * (1.0 - rate * spec.weight_decay))
            if spec.kind == "muon" and name.endswith("/kernel") and len(weight.shape) == 4:
                direction = orthogonal(self._direction(name, gradients[name]))
                assign_here(weight, weight - muon_rate * direction)
            elif spec.momentum:
                tf.raw_ops.ResourceApplyMomentum(
                    var=weight.handle,
                    accum=self._velocities[name].handle,
                    lr=own_rate,
                    grad=gradients[name],
                    momentum=spec.momentum,
                    use_nesterov=spec.nesterov,
                )
            else:
                tf.raw_ops.ResourceApplyGradientDescent(var=weight.handle, alpha=own_rate, delta=gradients[name])

    def _direction(self, name: str, gradient: Any) -> Any:
        momentum = self._spec.momentum
        if not momentum:
            return gradient
        velocity = momentum * self._velocities[name] + gradient
        assign_here(self._velocities[name], velocity)
        return gradient + momentum * velocity if self._spec.nesterov else velocity


def orthogonal(kernel: Any) -> Any:
    """Nearly the nearest kernel whose filters, or else inputs, are orthogonal to each other and of length 1.

    By Newton and Schulz's iteration, with the coefficients of Muon's authors, which bring all singular values near 1 in
    few rounds (to about 0.7 to 1.2) rather than to 1 in many.

    Args:
        kernel: float32 [height, width, channels, filters].
    """
    filters = kernel.shape[-1]
    rows = tf.transpose(tf.reshape(kernel, [-1, filters]))
    wide = rows.shape[0] <= rows.shape[1]
    x = rows if wide else tf.transpose(rows)
    x /= tf.norm(x) + np.float32(1e-7)
    for _ in range(ROUNDS):
        squares = tf.matmul(x, x, transpose_b=True)
        x = FIRST * x + tf.matmul(THIRD * squares + FIFTH * tf.matmul(squares, squares), x)
    return tf.reshape(tf.transpose(x) if wide else x, kernel.shape)
