"""One line for each judged step, told once, when all its kinds of weights are judged."""

from services.cli.client.views import Evaluation
from services.cli.up.judgements import Judgements

RAW, EMA = "raw", "ema-0.9999"


def judged(step: int, kind: str, precision: float | None = 0.5) -> Evaluation:
    weights = "raw" if kind == RAW else "ema"
    decay = None if kind == RAW else 0.9999
    status = "judged" if precision is not None else "corrupt"
    return Evaluation(
        step=step, weights=weights, decay=decay, precision_at_1=precision, status=status, problem="a torn file"
    )


def test_step_is_told_once_when_both_kinds_are_judged() -> None:
    judgements = Judgements(kinds=(RAW, EMA))
    assert judgements.add([judged(1000, EMA, 0.612)]) == []
    both = [judged(1000, EMA, 0.612), judged(1000, RAW, 0.598)]
    assert judgements.add(both) == ["evaluation  step 1,000: precision at 1 EMA 0.9999 0.612, raw 0.598"]
    assert judgements.add(both) == []


def test_steps_are_told_in_order_however_they_come() -> None:
    judgements = Judgements(kinds=(RAW,))
    lines = judgements.add([judged(300, RAW), judged(100, RAW), judged(200, RAW)])
    assert [line.split(":")[0] for line in lines] == [
        "evaluation  step 100",
        "evaluation  step 200",
        "evaluation  step 300",
    ]


def test_what_was_judged_before_is_one_line_about_the_newest() -> None:
    judgements = Judgements(kinds=(RAW,))
    line = judgements.passed_over([judged(100, RAW), judged(200, RAW)])
    assert line is not None and "step 200" in line
    assert judgements.add([judged(100, RAW), judged(200, RAW)]) == []
    assert Judgements(kinds=(RAW,)).passed_over([]) is None


def test_half_judged_step_is_told_at_the_end() -> None:
    judgements = Judgements(kinds=(RAW, EMA))
    judgements.add([judged(100, RAW, 0.4)])
    assert judgements.rest() == ["evaluation  step 100: precision at 1 raw 0.400"]
    assert judgements.rest() == []


def test_checkpoint_that_could_not_be_judged_says_why_and_counts_as_dealt_with() -> None:
    judgements = Judgements(kinds=(RAW,))
    assert judgements.add([judged(100, RAW, None)]) == ["evaluation  step 100: precision at 1 raw corrupt: a torn file"]
    assert judgements.complete(100)
    assert not judgements.any()
