"""Exponential moving averages of a network's weights (shadow weights), kept apart from the weights themselves.

    ema ← d·ema + (1 - d)·w,    d = min(decay, (1 + n) / (10 + n))

where n counts the updates made, the current one included, as in the tutorial: its averages follow the step counter,
which has been raised by then. Averages start at the initial weights. They cover every trainable variable and the
moving statistics of batch normalisation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from shared.checkpoints import Arrays
from shared.ml.weights import assign_variables, read_variables
from shared.spec import ema_kind


def shares(decays: Sequence[float], updates: int) -> npt.NDArray[np.float32]:
    """The share 1 - d of the newest weights in each average, at the given number of updates: float32 [decays].

    Worked out in double precision, since 1 - 0.9999 in single precision is wrong in the fourth digit.
    """
    return np.array([1.0 - min(decay, (1 + updates) / (10 + updates)) for decay in decays], np.float32)


class ShadowWeights:
    """One set of shadow weights for each decay.

    Args:
        weights: The variables that are averaged, by name. They are only read.
        decays: As in `RunSpec.ema`.
    """

    def __init__(self, *, weights: Mapping[str, Any], decays: Sequence[float]) -> None:
        self._weights = dict(weights)
        self._shadows = {
            ema_kind(decay): {name: tf.Variable(weight, trainable=False) for name, weight in weights.items()}
            for decay in decays
        }

    def update(self, shares: Any) -> None:
        """Moves every average towards the weights; called once a step, inside the step's graph.

        Args:
            shares: float32 [decays], see `shares`.
        """
        for position, shadows in enumerate(self._shadows.values()):
            for name, shadow in shadows.items():
                # The fused form of shadow -= share * (shadow - weight): one pass over memory less.
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=shadow.handle, alpha=shares[position], delta=shadow - self._weights[name]
                )

    def read(self) -> dict[str, dict[str, npt.NDArray[np.generic]]]:
        """Copies in host memory: `ema-<decay>`, then by name."""
        return {kind: read_variables(shadows) for kind, shadows in self._shadows.items()}

    def assign(self, groups: Mapping[str, Arrays]) -> None:
        """Takes over what `read` gave; other groups are passed over. Raises like `assign_variables`."""
        for kind, shadows in self._shadows.items():
            assign_variables(shadows, groups.get(kind, {}), source=kind)
