import numpy as np
import pytest

from services.trainer.ema import shares


def test_the_decay_warms_up_with_the_number_of_updates() -> None:
    assert shares([0.9999, 0.5], 1) == pytest.approx([1 - 2 / 11, 1 - 2 / 11])
    assert shares([0.9999, 0.5], 100) == pytest.approx([1 - 101 / 110, 0.5])


def test_the_share_of_a_long_average_is_exact_to_single_precision() -> None:
    assert shares([0.9999], 10**9)[0] == np.float32(0.0001)
