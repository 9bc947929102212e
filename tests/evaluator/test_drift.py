import numpy as np
import pytest
from evaluator_parts import EMA

from services.evaluator.drift import drift, drift_since_last


def test_drift_is_the_relative_distance_of_each_variable_and_of_all():
    before = {"a": np.float32([3, 4]), "b": np.float32([[0, 12]])}
    after = {"a": np.float32([3, 5]), "b": np.float32([[0, 12]])}
    found = drift(before, after, step=7)
    assert found.step == 7
    assert found.variables == {"a": pytest.approx(1 / 5), "b": 0.0}
    assert found.total == pytest.approx(1 / 13)


def test_weights_that_were_all_zero_have_no_relative_drift():
    found = drift(
        {"a": np.float32([0, 0]), "b": np.float32([2])}, {"a": np.float32([1, 0]), "b": np.float32([2])}, step=1
    )
    assert found.variables == {"a": None, "b": 0.0}
    assert found.total == 0.5


@pytest.mark.parametrize("after", [{"b": np.float32([1])}, {"a": np.float32([1, 2])}])
def test_weights_of_another_network_are_not_compared(after):
    assert drift({"a": np.float32([1])}, after, step=1) is None


def test_drift_is_measured_since_the_checkpoint_before_of_the_same_kind(runs):
    folder = runs.run()
    for step, value in ((10, 1.0), (20, 2.0), (30, 3.0), (40, 9.0)):
        groups = {"raw": {"w": np.float32([value])}, EMA: {"w": np.float32([10 * value])}}
        runs.commit(folder, step, groups=groups)
    found = drift_since_last(folder, step=30, kind=EMA, weights={"w": np.float32([30])})
    assert (found.step, found.total) == (20, pytest.approx(0.5))
    assert drift_since_last(folder, step=10, kind="raw", weights={"w": np.float32([1])}) is None


def test_a_damaged_checkpoint_before_gives_no_drift(runs):
    folder = runs.run()
    for step in (10, 20):
        runs.commit(folder, step)
    (folder.checkpoint(10) / "raw.safetensors").write_bytes(b"x")
    assert drift_since_last(folder, step=20, kind="raw", weights={"w": np.float32([20, 1])}) is None
