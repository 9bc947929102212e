"""Figures as people read them."""

import pytest

from services.cli.client.views import Evaluation, Run
from services.cli.output import duration, figures_of, progress_text
from tests.cli.fake_gateway import run_view


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1:00"),
        (725, "12:05"),
        (3723, "1:02:03"),
        (90_061, "1 d 1:01:01"),
    ],
)
def test_duration_is_as_long_as_it_must_be(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_precision_carries_its_interval() -> None:
    evaluation = Evaluation(step=1, weights="ema", decay=0.999, precision_at_1=0.61234, interval=(0.6021, 0.6224))
    assert figures_of(evaluation) == "EMA 0.999 0.612 (0.602-0.622)"


def test_progress_says_step_loss_rate_speed_and_time_to_go() -> None:
    assert progress_text(Run(**run_view())) == "step 150 of 300  loss 1.750  rate 0.1  812 examples/s  ETA 1:15"


def test_run_that_waits_says_for_what() -> None:
    run = Run(**run_view(state="queued", step=0, reason="every slot is taken"))
    assert progress_text(run) == "step 0 of 300  queued: every slot is taken"
