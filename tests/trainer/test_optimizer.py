from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf

from services.trainer.optimizer import Optimizer, orthogonal
from shared.spec import OptimizerSpec

Arrays = Mapping[str, np.ndarray]

MUON = OptimizerSpec(kind="muon", momentum=0.8, nesterov=True, weight_decay=0.01, bias_rate=3.0, muon_rate=0.5)
SHAPES = {"conv/kernel": (3, 3, 4, 6), "conv/bias": (6,), "logits/kernel": (6, 5), "norm/gamma": (6,)}


def randoms(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def moved(spec: OptimizerSpec, *, rates: tuple[float, ...]) -> dict[str, np.ndarray]:
    weights = {name: tf.Variable(array) for name, array in randoms(0).items()}
    optimizer = Optimizer(weights=weights, spec=spec)
    for step, rate in enumerate(rates):
        optimizer.update(
            {name: tf.constant(array) for name, array in randoms(step + 1).items()}, rate=tf.constant(rate)
        )
    return {name: weight.numpy() for name, weight in weights.items()}


@pytest.mark.parametrize("shape", [(3, 3, 24, 48), (3, 3, 160, 160), (1, 1, 8, 64), (3, 3, 2, 40)])
def test_singular_vectors_stay_and_singular_values_come_near_one(shape: tuple[int, ...]) -> None:
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    left, _, right = np.linalg.svd(kernel.reshape(-1, shape[-1]), full_matrices=False)

    found = orthogonal(tf.constant(kernel)).numpy()

    assert found.shape == shape
    within = left.T @ found.reshape(-1, shape[-1]) @ right.T
    values = np.diag(within)
    assert values.min() > 0.6
    assert values.max() < 1.25
    np.testing.assert_allclose(within, np.diag(values), atol=1e-3)


def test_how_long_a_kernel_is_does_not_matter_and_one_of_zeros_stays() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype(np.float32)
    for factor in (1e-3, 1e6):
        np.testing.assert_allclose(orthogonal(tf.constant(factor * kernel)), orthogonal(tf.constant(kernel)), atol=2e-3)
    assert not orthogonal(tf.zeros([3, 3, 4, 6])).numpy().any()


def test_muon_moves_kernels_of_convolutions_along_the_orthogonal_momentum() -> None:
    kernel, velocity = randoms(0)["conv/kernel"], np.zeros(SHAPES["conv/kernel"], np.float32)
    for step, rate in enumerate((0.3, 0.2, 0.1)):
        gradient = randoms(step + 1)["conv/kernel"]
        velocity = 0.8 * velocity + gradient
        direction = orthogonal(tf.constant(gradient + np.float32(0.8) * velocity)).numpy()
        kernel = kernel * (1 - rate * 0.01) - rate * 0.5 * direction

    np.testing.assert_allclose(moved(MUON, rates=(0.3, 0.2, 0.1))["conv/kernel"], kernel, rtol=1e-4, atol=1e-5)


def test_muon_moves_everything_else_as_sgd_does() -> None:
    rates = (0.3, 0.2, 0.1)
    muon, sgd = moved(MUON, rates=rates), moved(MUON.model_copy(update={"kind": "sgd"}), rates=rates)
    assert not np.allclose(muon.pop("conv/kernel"), sgd.pop("conv/kernel"))
    for name, array in muon.items():
        np.testing.assert_array_equal(array, sgd[name])


def test_muon_without_momentum_follows_the_gradient() -> None:
    spec = OptimizerSpec(kind="muon")
    kernel = randoms(0)["conv/kernel"] - 0.3 * 0.2 * orthogonal(tf.constant(randoms(1)["conv/kernel"])).numpy()
    np.testing.assert_allclose(moved(spec, rates=(0.3,))["conv/kernel"], kernel, rtol=1e-4, atol=1e-5)


def test_what_it_remembers_has_the_same_names_under_either_rule() -> None:
    weights = {name: tf.Variable(array) for name, array in randoms(0).items()}
    names = [
        set(Optimizer(weights=weights, spec=MUON.model_copy(update={"kind": kind})).variables)
        for kind in ("sgd", "muon")
    ]
    assert names[0] == names[1] == {f"momentum/{name}" for name in SHAPES}
