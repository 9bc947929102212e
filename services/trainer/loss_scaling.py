"""Loss scaling: what keeps the small gradients of half precision from becoming zeros.

In float16 a gradient below 6e-8 is lost. So the loss is multiplied by a scale before it is differentiated and the
gradients are divided by it afterwards, in float32. A step whose gradients overflow is left out, and the scale halved;
after `GROWTH_STEPS` steps in a row without that it is doubled (Micikevicius et al., "Mixed Precision Training", 2018).
bfloat16 has the range of float32 and needs none of it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import tensorflow as tf

from shared.ml.weights import assign_here
from shared.spec import Precision

FIRST_SCALE = 2.0**15
LEAST_SCALE = 1.0
GROWTH_STEPS = 2_000


class LossScaling(Protocol):
    """What is done to a loss before, and to its gradients after they are worked out."""

    @property
    def variables(self) -> dict[str, Any]:
        """What it remembers between steps, by name."""
        ...

    def scaled(self, loss: Any) -> Any:
        """The loss to differentiate, a float32 scalar."""
        ...

    def unscaled(self, gradients: Mapping[str, Any]) -> dict[str, Any]:
        """The gradients of the loss itself, float32, by name."""
        ...

    def update(self, gradients: Mapping[str, Any], move: Callable[[], None]) -> None:
        """Has `move` move the weights by these gradients, or leaves the step out; called once a step, in its graph."""
        ...


class NoScaling:
    """Loss and gradients as they are."""

    @property
    def variables(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def scaled(self, loss: Any) -> Any:
        """The loss."""
        return loss

    def unscaled(self, gradients: Mapping[str, Any]) -> dict[str, Any]:
        """The gradients."""
        return dict(gradients)

    def update(self, gradients: Mapping[str, Any], move: Callable[[], None]) -> None:
        """Moves the weights."""
        del gradients
        move()


class DynamicScaling:
    """A scale that follows what the gradients allow. Its variables are made where it is."""

    def __init__(self) -> None:
        self._scale = tf.Variable(FIRST_SCALE, trainable=False, dtype=tf.float32)
        self._good_steps = tf.Variable(0, trainable=False, dtype=tf.int32)

    @property
    def variables(self) -> dict[str, Any]:
        """The scale, and how many steps in a row it has held."""
        return {"loss_scale/scale": self._scale, "loss_scale/good_steps": self._good_steps}

    def scaled(self, loss: Any) -> Any:
        """The loss times the scale."""
        return loss * self._scale

    def unscaled(self, gradients: Mapping[str, Any]) -> dict[str, Any]:
        """The gradients divided by the scale, which is a power of two: no digit is lost."""
        return {name: gradient / self._scale for name, gradient in gradients.items()}

    def update(self, gradients: Mapping[str, Any], move: Callable[[], None]) -> None:
        """Moves the weights if every gradient is finite, and chooses the scale of the next step."""
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients.values()])

        def keep() -> Any:
            move()
            good = self._good_steps + 1
            full = good >= GROWTH_STEPS
            assign_here(self._scale, tf.where(full, self._scale * 2.0, self._scale))
            assign_here(self._good_steps, tf.where(full, 0, good))
            return finite

        def leave_out() -> Any:
            assign_here(self._scale, tf.maximum(self._scale / 2.0, LEAST_SCALE))
            assign_here(self._good_steps, tf.constant(0))
            return finite

        tf.cond(finite, keep, leave_out)


def choose_scaling(precision: Precision) -> LossScaling:
    """What a precision needs."""
    return DynamicScaling() if precision == "mixed_float16" else NoScaling()
