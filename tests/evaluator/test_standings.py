"""What a verdict says beside its own figures, and which answers to single examples stay on the volume."""

import numpy as np
import pytest
from evaluator_parts import EMA

from shared.answers import read_answers
from shared.checkpoints import CheckpointStore, read_spec
from shared.layout import listed_steps
from shared.records import Verdict, read_record

# The judge of arrays gets all ten examples right with a positive second weight, and none with a negative one.
RIGHT, WRONG = 1.0, -1.0


@pytest.fixture
def folder(runs):
    return runs.run()


@pytest.fixture
def judge_step(runs, folder, evaluator, verdict):
    def judge(step, *, raw=RIGHT, average=RIGHT):
        groups = {"raw": {"w": np.float32([step, raw])}, EMA: {"w": np.float32([step + 1, average])}}
        runs.commit(folder, step, groups=groups)
        while evaluator.loop.step():
            pass
        return verdict(folder, step, "raw"), verdict(folder, step, EMA)

    return judge


def test_the_first_verdict_is_compared_with_nothing(judge_step):
    raw, average = judge_step(10)
    assert (raw.comparison, average.comparison) == (None, None)
    assert (raw.drift, average.drift) == (None, None)
    assert raw.calibration.error == pytest.approx(1 - 1 / (1 + np.exp(-1.0)))


def test_a_verdict_is_compared_with_the_best_of_its_kind_on_the_same_examples(judge_step):
    judge_step(10, raw=RIGHT, average=WRONG)
    raw, average = judge_step(20, raw=WRONG, average=RIGHT)
    assert (raw.comparison.step, raw.comparison.precision_at_1) == (10, 1.0)
    assert (raw.comparison.only_these, raw.comparison.only_those) == (0, 10)
    assert (raw.comparison.p_value, raw.comparison.method) == (pytest.approx(2 / 2**10), "exact")
    assert (average.comparison.only_these, average.comparison.only_those) == (10, 0)
    raw, average = judge_step(30, raw=RIGHT, average=RIGHT)
    assert (raw.comparison.step, average.comparison.step) == (10, 20)
    assert raw.comparison.p_value == 1.0


def test_of_equally_good_ones_the_earliest_is_compared_with(judge_step):
    for step in (10, 20, 30):
        raw, _ = judge_step(step)
    assert raw.comparison.step == 10


def test_a_verdict_tells_how_far_the_weights_have_moved(judge_step):
    judge_step(10)
    raw, _ = judge_step(20)
    assert raw.drift.step == 10
    assert raw.drift.total == pytest.approx(10 / np.sqrt(101))
    assert raw.drift.variables == {"w": raw.drift.total}


def test_answers_are_beside_each_verdict(judge_step, folder):
    raw, average = judge_step(10, raw=WRONG)
    assert not read_answers(folder, "raw", raw).correct.any()
    assert read_answers(folder, EMA, average).correct.all()


def test_a_best_whose_answers_are_damaged_or_gone_is_passed_over_and_judging_goes_on(judge_step, folder):
    judge_step(10)
    folder.answers(10, "raw").write_bytes(b"no answers")
    folder.answers(10, EMA).unlink()
    raw, average = judge_step(20)
    assert (raw.comparison, average.comparison) == (None, None)
    assert raw.precision_at_1 == 1.0


def test_an_answer_that_is_no_more_kept_leaves_its_verdict(runs, folder, make_evaluator, verdict):
    evaluator = make_evaluator(answers=2)
    for step in range(10, 70, 10):
        value = {20: RIGHT}.get(step, WRONG)
        groups = {"raw": {"w": np.float32([step, value])}, EMA: {"w": np.float32([step + 1, value])}}
        runs.commit(folder, step, groups=groups)
        while evaluator.loop.step():
            pass
        if step < 40:
            CheckpointStore(folder).remove(step)
    kept = [step for step in listed_steps(folder.evaluations) if folder.answers(step, "raw").exists()]
    # 20 is the best, 40 to 60 have checkpoints still, of which two are the newest.
    assert kept == [20, 40, 50, 60]
    assert read_record(folder.verdict(10, "raw"), Verdict).answers is not None


def test_a_second_evaluator_leaves_the_answers_of_a_standing_verdict_alone(judge_step, folder, evaluator):
    judge_step(10)
    before = folder.answers(10, "raw").read_bytes()
    judged = evaluator.judge.judge(
        read_spec(folder), {"w": np.float32([10, WRONG])}, source="here", wanted=lambda: True
    )
    assert not evaluator.verdicts.judged(folder, 10, "raw", judged, manifest_sha256="")
    assert folder.answers(10, "raw").read_bytes() == before
