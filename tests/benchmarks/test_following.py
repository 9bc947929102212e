"""What the delay of an evaluation is worked out from."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.following import add_figures, counted, delays, durations
from benchmarks.report import Report
from services.evaluator.metrics import EvaluatorMetrics
from shared.layout import MANIFEST, RunFolder, Volume
from shared.records import CheckpointManifest, Verdict, write_record
from shared.spec import RunSpec

RUN = "20260101-000000-followed-0000"
SPEC = RunSpec()


def judged(folder: RunFolder, step: int, *, committed: float, begun: float) -> None:
    """A checkpoint whose raw weights took 0.2 s to judge, and all of it 0.7."""
    manifest = CheckpointManifest(run=RUN, step=step, fence=1, weights=(), files={}, spec_sha256="", time=committed)
    write_record(folder.checkpoint(step) / MANIFEST, manifest)
    raw = Verdict(run=RUN, step=step, weights="raw", seconds=0.2, time=begun + 0.2)
    average = Verdict(run=RUN, step=step, weights="ema", decay=0.9999, seconds=0.3, time=begun + 0.7)
    write_record(folder.verdict(step, "raw"), raw)
    write_record(folder.verdict(step, SPEC.primary_ema), average)


def test_an_evaluation_begins_before_its_first_verdict_by_what_judging_took(tmp_path: Path):
    folder = Volume(tmp_path).run(RUN)
    judged(folder, 200, committed=1002.0, begun=1002.5)
    judged(folder, 30, committed=1000.0, begun=1000.1)
    assert delays(folder) == pytest.approx([0.1, 0.5])
    assert durations(folder, SPEC) == pytest.approx([0.7, 0.7])


def test_the_evaluators_own_histogram_is_counted():
    registry = CollectorRegistry()
    metrics = EvaluatorMetrics(registry)
    for seconds in (0.01, 0.9, 1.1):
        metrics.started(seconds)
    assert counted(generate_latest(registry).decode(), within=1.0) == (2, 3)


@pytest.mark.parametrize(("late", "met"), [(2, True), (4, False)])
def test_of_two_hundred_two_may_be_late(late: int, met: bool):
    report = Report("following", None)
    add_figures(report, [0.1] * (200 - late) + [5.0] * late, [0.3, 0.5], (200 - late, 200))
    found = {figure.name: figure for figure in report.figures}
    assert found["… 99% within"].met is met
    assert found["by the evaluator's own count, begun within 1 s"].met is met
    assert found["from a commit to its evaluation, median of 200"].value == pytest.approx(0.1)
    assert found["… the slowest"].value == 5.0
