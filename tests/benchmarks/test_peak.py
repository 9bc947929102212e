"""How much arithmetic a step is, against figures worked out by hand."""

import pytest

from benchmarks.training.peak import Peak, operations
from shared.ml.models import build_model
from shared.spec import ModelSpec


def test_the_operations_of_a_step_are_those_of_its_convolutions_and_products():
    model = build_model(ModelSpec(name="tutorial"), image_shape=(24, 24, 3), classes=10, seed=0)
    first = 5 * 5 * 3 * 64 * 24 * 24
    second = 5 * 5 * 64 * 64 * 12 * 12
    dense = 6 * 6 * 64 * 384 + 384 * 192 + 192 * 10
    assert operations(model, batch_size=7) == 7 * 2 * (2 * first + 3 * (second + dense))


def test_the_share_of_the_peak_falls_with_the_seconds_of_a_step():
    peak = Peak(step_operations=1e9, operations_per_second=4e9)
    assert peak.share(0.25) == pytest.approx(1.0)
    assert peak.share(0.5) == pytest.approx(0.5)
