"""The reference itself is checked by finite differences, so that it is no second opinion of unknown worth."""

import numpy as np
import pytest

from tests.shared.ml import reference

SHAPES = {
    "conv1/kernel": (5, 5, 3, 6),
    "conv1/bias": (6,),
    "conv2/kernel": (5, 5, 6, 6),
    "conv2/bias": (6,),
    "local3/kernel": (2 * 2 * 6, 8),
    "local3/bias": (8,),
    "local4/kernel": (8, 7),
    "local4/bias": (7,),
    "softmax_linear/kernel": (7, 4),
    "softmax_linear/bias": (4,),
}


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_of_the_reference_are_those_of_finite_differences(name: str) -> None:
    rng = np.random.default_rng(1)
    weights = {key: rng.normal(0.0, 0.3, shape) for key, shape in SHAPES.items()}
    # Large activations, so that the response normalisation is far from doing nothing.
    images, labels = rng.normal(0.0, 30.0, (3, 7, 6, 3)), np.array([0, 3, 1])
    _, _, _, gradients = reference.losses_and_gradients(weights, images, labels, smoothing=0.1)

    direction = rng.normal(size=SHAPES[name])
    width = 1e-7

    def loss(shift: float) -> float:
        moved = {**weights, name: weights[name] + shift * direction}
        return reference.losses_and_gradients(moved, images, labels, smoothing=0.1)[0]

    slope = (loss(width) - loss(-width)) / (2 * width)
    assert slope == pytest.approx(float((gradients[name] * direction).sum()), rel=1e-4)
