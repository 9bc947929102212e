"""Stochastic gradient descent with (Nesterov) momentum and decoupled weight decay, in fused kernels.

    v ← momentum·v + g,    w ← (1 - rate·decay)·w - rate·(g + momentum·v  if Nesterov, else v)

Weight decay applies to kernels alone, not to biases or to the scales of batch normalisation. Biases, those of batch
normalisation included, may have a rate of their own: rate·bias_rate.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from shared.ml.weights import assign_here
from shared.spec import OptimizerSpec


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
        bias_rate = rate if spec.bias_rate == 1.0 else rate * spec.bias_rate
        for name, weight in self._weights.items():
            own_rate = bias_rate if name.endswith(("/bias", "/beta")) else rate
            if spec.weight_decay and name.endswith("/kernel"):
                assign_here(weight, weight * (1.0 - rate * spec.weight_decay))
            if spec.momentum:
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
