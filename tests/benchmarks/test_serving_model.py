"""What tandem and its peers serve in the benchmark of serving."""

import numpy as np

from benchmarks.serving_model import tutorial_network
from shared.onnx_runtime import onnxruntime


def test_both_forms_of_the_network_compute_the_same():
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    banded, plain = (
        onnxruntime.InferenceSession(tutorial_network(banded=each)).run(["logits"], {"images": images})[0]
        for each in (True, False)
    )
    assert np.abs(plain).max() > 1e-3
    np.testing.assert_allclose(banded, plain, rtol=1e-5, atol=1e-5 * np.abs(plain).max())
