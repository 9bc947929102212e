"""What the benchmark of serving makes of what wrk says."""

import pytest

from benchmarks.report import Report
from benchmarks.serving import add_figures
from benchmarks.wrk import Measured, milliseconds


def measured(rate: float, slowest: float, *, refused: float = 0.0) -> Measured:
    return Measured(rate=rate, refused=refused, median=slowest / 2, slowest=slowest, cpu=0.5, idle=0.1)


@pytest.mark.parametrize(
    ("text", "expected"), [("870.00us", 0.87), ("1.23ms", 1.23), ("1.02s", 1020), ("2.00m", 120_000)]
)
def test_times_of_wrk_are_read(text: str, expected: float):
    assert milliseconds(text) == pytest.approx(expected)


def test_goals_are_ratios_to_the_best_peer_within_a_round():
    figures = {
        ("tandem", 16): [measured(200, 10), measured(400, 20), measured(300, 30)],
        ("tandem, raw uint8", 16): [measured(260, 9), measured(480, 19), measured(360, 29)],
        ("fast", 16): [measured(100, 5), measured(100, 40), measured(200, 60)],
        ("even", 16): [measured(50, 20), measured(200, 80), measured(100, 90)],
        ("rude", 16): [measured(10, 1, refused=0.4)] * 3,
    }
    report = Report("serving", None)
    add_figures(report, figures, list(dict.fromkeys(name for name, _ in figures)), [16])
    found = {figure.name: (figure.value, figure.met) for figure in report.figures}
    assert found["tandem, 16 connections"] == (300, None)
    assert found["tandem at 16 connections: times the rate of the best peer"] == (2.0, True)
    # In the rounds 2, 0.5 and 0.5; whoever refuses 40% is no measure.
    name = "tandem at 16 connections: 99th percentile, times the least of the peers that answer all"
    assert found[name] == (0.5, True)
    assert found["tandem at 16 connections: raw uint8, times the rate of PNGs"] == (1.2, False)
    assert found["… refused"] == (40.0, None)
    assert report.details["rounds"]["fast, 16"][0]["rate"] == 100


def test_without_peers_there_is_nothing_to_be_compared_with():
    figures = {(name, 1): [measured(100, 10)] for name in ("tandem", "tandem, raw uint8")}
    report = Report("serving", None)
    add_figures(report, figures, ["tandem", "tandem, raw uint8"], [1])
    assert [figure.name for figure in report.figures if figure.goal] == [
        "tandem at 1 connection: raw uint8, times the rate of PNGs"
    ]
