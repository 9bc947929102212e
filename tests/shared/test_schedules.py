import math

import pytest

from shared.schedules import learning_rate
from shared.spec import ConstantRate, CosineRate, ExponentialRate, OneCycleRate, RateSpec

TUTORIAL = 50_000 / 128


def rate(spec: RateSpec, step: int, *, steps: int = 1_000, steps_per_epoch: float = TUTORIAL) -> float:
    return learning_rate(spec, step, steps=steps, steps_per_epoch=steps_per_epoch)


def test_a_constant_rate_stays() -> None:
    assert {rate(ConstantRate(rate=0.3), step) for step in (0, 1, 999)} == {0.3}


def test_the_tutorials_staircase_drops_after_136718_steps() -> None:
    spec = ExponentialRate()
    assert rate(spec, 0) == rate(spec, 136_717) == 0.1
    assert rate(spec, 136_718) == rate(spec, 2 * 136_718 - 1) == pytest.approx(0.01)
    assert rate(spec, 2 * 136_718) == pytest.approx(0.001)


def test_the_continuous_exponential_meets_the_staircase_at_each_drop_only() -> None:
    spec = ExponentialRate(staircase=False)
    assert rate(spec, 136_718) == pytest.approx(0.01)
    assert rate(spec, 136_718 // 2) == pytest.approx(0.1 * math.sqrt(0.1))
    assert rate(spec, 1) < rate(spec, 0)


def test_a_decay_of_less_than_one_step_counts_as_one() -> None:
    assert rate(ExponentialRate(every_epochs=0.1, factor=0.5), 2, steps_per_epoch=1.0) == pytest.approx(0.025)


def test_cosine_warms_up_in_a_line_and_falls_along_half_a_wave() -> None:
    spec = CosineRate(initial=0.4, final=0.1, warmup_steps=4)
    assert [rate(spec, step, steps=104) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert rate(spec, 54, steps=104) == pytest.approx(0.25)
    assert rate(spec, 29, steps=104) == pytest.approx(0.25 + 0.15 * math.cos(math.pi / 4))
    assert rate(spec, 104, steps=104) == pytest.approx(0.1)


def test_one_cycle_is_a_triangle() -> None:
    spec = OneCycleRate(peak=1.0, start=0.2, final=0.0, warmup=0.25)
    assert [rate(spec, step, steps=8) for step in range(9)] == pytest.approx(
        [0.2, 0.6, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0.0]
    )


@pytest.mark.parametrize(("warmup", "ends"), [(0.0, (1.0, 0.1)), (1.0, (0.2, 1.0))])
def test_one_cycle_may_be_one_slope_only(warmup: float, ends: tuple[float, float]) -> None:
    spec = OneCycleRate(peak=1.0, start=0.2, final=0.1, warmup=warmup)
    assert (rate(spec, 0, steps=8), rate(spec, 8, steps=8)) == pytest.approx(ends)
