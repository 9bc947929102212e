import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import time_to_accuracy
from benchmarks.__main__ import RESULTS
from benchmarks.report import Report
from benchmarks.time_to_accuracy import Attempt, Judged, add_figures, attempt, earlier, judged, merged, picture, summary
from shared.layout import Volume
from shared.records import Verdict, write_record
from shared.spec import EmaSpec, RunSpec

RUN = "20260101-000000-fast-0001"
DECAY = 0.99


def of(seed: int, *precisions: float, recipe: str = "fast") -> Attempt:
    """A run judged every 100 seconds; raw weights are a hundredth worse."""
    verdicts = [
        Judged(step=10 * number, decay=decay, precision_at_1=precision - lost, seconds=100.0 * number)
        for number, precision in enumerate(precisions, start=1)
        for decay, lost in ((None, 0.01), (DECAY, 0.0))
    ]
    seconds = 100.0 * len(precisions) + 5
    return Attempt(
        recipe=recipe, seed=seed, steps=30, seconds=seconds, own=0.9, others=0.03, idle=0.07, verdicts=verdicts
    )


def test_the_time_to_a_target_is_that_of_the_first_verdict_on_the_average_that_reaches_it():
    attempt = of(0, 0.5, 0.88, 0.87)
    assert attempt.first(0.87, DECAY) == Judged(step=20, decay=DECAY, precision_at_1=0.88, seconds=200.0)
    assert attempt.first(0.9, DECAY) is None
    assert attempt.last(DECAY) == 0.87


def test_a_table_names_seeds_that_never_reach_the_target():
    table = summary([of(0, 0.5, 0.88), of(1, 0.5, 0.86)], decay=DECAY, target=0.87)
    assert "| 0 | 0.8800 | 0.8700 | 200 | 205 | 3.0% |" in table
    assert "| 1 | 0.8600 | 0.8500 | never | 205 | 3.0% |" in table
    assert table.endswith("mean: EMA precision at 1 0.8700, 205 s in all; 1 of 2 reached 0.87, after 200 s")


@pytest.mark.parametrize(("precision", "figures"), [(0.88, 3), (0.84, 2)])
def test_a_time_to_the_target_is_reported_only_if_every_seed_has_one(precision: float, figures: int):
    report = Report("time_to_accuracy", None)
    add_figures(report, [of(0, 0.88), of(1, precision)], decay=DECAY, target=0.87, within=600.0)
    assert len(report.figures) == figures
    assert report.figures[0].met is (precision > 0.87)


def test_verdicts_are_read_in_the_order_of_time_and_without_those_that_have_no_figures(tmp_path: Path):
    folder, spec = Volume(tmp_path).run(RUN), RunSpec(ema=EmaSpec(decays=(DECAY, 0.5)))

    def write(step: int, kind: str, **values: object) -> None:
        verdict = Verdict.model_validate({"run": RUN, "step": step, **values})
        write_record(folder.evaluations / str(step) / f"{kind}.json", verdict)

    write(10, "raw", weights="raw", precision_at_1=0.5, time=130.0)
    write(10, "ema-0.99", weights="ema", decay=DECAY, precision_at_1=0.6, time=125.0)
    write(20, "raw", weights="raw", status="corrupt", time=140.0)
    write(20, "ema-0.5", weights="ema", decay=0.5, precision_at_1=0.7, time=150.0)
    found = [(one.step, one.decay, one.precision_at_1, one.seconds) for one in judged(folder, spec, began=100.0)]
    assert found == [(10, DECAY, 0.6, 25.0), (10, None, 0.5, 30.0), (20, 0.5, 0.7, 50.0)]


def test_a_picture_has_a_curve_of_averages_and_one_of_raw_weights_for_each_run():
    drawn = picture([of(0, 0.5, 0.8), of(0, 0.3, 0.4, recipe="tutorial")], title="precision")
    assert drawn.count("<polyline") == 4
    for name in ("fast 0 EMA", "fast 0 raw", "tutorial 0 EMA", ">seconds since the command<"):
        assert name in drawn


def test_the_axis_of_a_picture_begins_at_the_command_unless_it_is_logarithmic():
    attempts = [of(0, *([0.5] * 16))]
    linear, logarithmic = (picture(attempts, title="", logarithmic=each) for each in (False, True))
    assert [label in linear for label in (">0<", ">400<", ">1,600<")] == [True] * 3
    assert [label in logarithmic for label in (">100<", ">200<", ">400<", ">800<", ">1,600<")] == [True] * 5
    assert "seconds since the command (logarithmic)" in logarithmic


def test_of_a_recipe_that_was_stopped_on_the_way_nothing_is_expected():
    report = Report("time_to_accuracy", None)
    add_figures(report, [replace(of(0, 0.5), limit=100.0)], decay=DECAY, target=0.87, within=600.0)
    (figure,) = report.figures
    assert (figure.name, figure.value, figure.met) == ("fast, stopped after 100 s: EMA precision at 1", 0.5, None)


def test_earlier_runs_are_taken_in_unless_they_were_made_again():
    before = [of(0, 0.5), of(1, 0.6), of(0, 0.3, recipe="tutorial")]
    record = json.loads(json.dumps({"attempts": [asdict(one) for one in before]}))
    for one in record["attempts"]:
        del one["limit"]  # as files from before there was one
    assert earlier(record) == before
    assert merged(before, [again := of(1, 0.7)]) == [before[0], before[2], again]


def test_the_committed_runs_can_be_drawn_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plot, output = tmp_path / "precision.svg", tmp_path / "found.json"
    committed = RESULTS / "time_to_accuracy.json"
    arguments = ["--seeds", "--with", str(committed), "--plot", str(plot), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["time_to_accuracy", *arguments])
    time_to_accuracy.main()
    before, now = (json.loads(path.read_text()) for path in (committed, output))
    assert now["figures"] == before["figures"]
    assert [one["verdicts"] for one in now["attempts"]] == [one["verdicts"] for one in before["attempts"]]
    assert now["earlier"]["time"] == before["time"]
    assert str(tmp_path) not in now["command"] and str(committed) not in now["command"]
    assert plot.read_text().count("<polyline") == 2 * len(before["attempts"])


def test_a_run_that_was_not_judged_before_its_limit_says_so():
    # Nothing starts within so short a time.
    with pytest.raises(SystemExit, match="was not judged within"):
        attempt("cifar10-fast", seed=0, data=None, changes={"dataset": {"kind": "shapes"}}, limit=1.0)
