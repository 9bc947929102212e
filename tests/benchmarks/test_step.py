"""What the parts of a step are made of, and that they are measured in the trainer's own loop."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.report import Report
from benchmarks.step.parts import Parts, add_figures, table
from benchmarks.step.rounds import Round, measure
from benchmarks.step.scene import Stretch
from shared.layout import Volume
from shared.spec import parse_spec

SPEC = parse_spec({"cadence": {"log_steps": 10, "summary_steps": 100}}, source="test")
STRETCH = Stretch(
    steps=11, wall=1.1, processor=2.2, waited=0.02, gathered=0.022, told=(0.001, 0.003, 0.002), summarized=0.1
)


def round_(*, cost: float = 0.001) -> Round:
    """One in which a step without averages takes so many seconds less."""
    plain = replace(STRETCH, wall=STRETCH.wall - 11 * cost)
    return Round(whole=STRETCH, plain=plain, distorting=0.003, distorting_processor=0.004, averaging=0.001, beat=0.005)


def test_a_step_holds_its_share_of_series_and_summaries():
    parts = Parts.of([round_()], SPEC)
    assert parts.step == pytest.approx(0.1 + 0.002 / 10 + 0.1 / 100)
    assert parts.waiting == pytest.approx(0.002), "of the ten batches after the first"
    assert parts.pipeline == pytest.approx(0.002 + 0.004)
    assert parts.telling(SPEC, interval=1.0) == pytest.approx(0.0012 / parts.step + 0.005)


def test_averages_cost_the_median_difference_of_the_rounds():
    parts = Parts.of([round_(cost=cost) for cost in (0.05, 0.001, -0.01, 0.002, 0.003)], SPEC)
    assert parts.averages == pytest.approx((0.001, 0.002, 0.003))


def test_shares_have_goals_and_the_table_adds_up_to_the_step():
    report = Report("step", None)
    parts = Parts.of([round_(cost=0.003)], SPEC)
    add_figures(report, parts, SPEC, interval=1.0)
    found = {figure.name: (figure.value, figure.met) for figure in report.figures if figure.goal}
    assert [met for _, met in found.values()] == [True, True, False, True]
    assert found["of its processor time, gathering and distorting"][0] == pytest.approx(3.0)
    rows = [line.split("|")[2] for line in table(parts, SPEC, interval=1.0).splitlines()[2:]]
    *within, whole = map(float, [*rows[:6], rows[-1]])
    assert sum(within) == pytest.approx(whole, abs=0.05)


def test_the_trainers_own_loop_is_measured(tmp_path: Path):
    spec = parse_spec(
        {
            "batch_size": 4,
            "dataset": {"kind": "shapes", "train_examples": 40},
            "augment": {"crop": 8},
            "cadence": {"log_steps": 2},
        },
        source="test",
    )
    (found,) = measure(spec, Volume(tmp_path), rounds=1, steps=4)
    assert len(found.whole.told) == 2
    assert len((tmp_path / "runs/whole/trainer/series.jsonl").read_text().splitlines()) == 4
    assert min(found.whole.wall, found.whole.gathered, found.whole.summarized) > 0
    assert min(found.distorting, found.averaging, found.beat) > 0
    assert found.whole.processor > found.whole.gathered
