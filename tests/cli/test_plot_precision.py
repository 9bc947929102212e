"""`tandem plot precision` compares the raw weights of a run with their averages."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from services.cli.plots.lines import svg_lines
from services.cli.plots.steadiness import Steadiness
from tests.cli.fake_gateway import run_view, verdict
from tests.cli.terminal import Terminal

RUN = "20260102-030405-shapes-0a1b"
RAW = {100: 0.5, 200: 0.7, 300: 0.6, 400: 0.8}
LONG = {100: 0.1, 200: 0.7, 300: 0.75, 400: 0.8}


def terminal_with(*verdicts: Any) -> Terminal:
    return Terminal(
        {
            ("GET", f"/v1/runs/{RUN}"): run_view(),
            ("GET", f"/v1/runs/{RUN}/evaluations"): {"evaluations": list(verdicts)},
        }
    )


@pytest.fixture
def judged() -> Terminal:
    raw = [verdict(step, "raw", value) for step, value in RAW.items()]
    averages = [
        verdict(step, "ema", value - less, decay=decay)
        for decay, less in ((0.9999, 0.0), (0.9, 0.05))
        for step, value in LONG.items()
    ]
    corrupt = verdict(500, "raw", None, status="corrupt", problem="damaged")
    return terminal_with(*averages, corrupt, *raw)


def test_mean_and_spread_of_the_last_checkpoints_are_compared_raw_first(judged: Terminal) -> None:
    assert judged("plot", "precision", RUN, "--last", "3") == 0
    head, *rows = [line.split() for line in judged.output.getvalue().splitlines()]
    assert head == ["weights", "checkpoints", "mean", "deviation", "least", "greatest"]
    assert rows == [
        ["raw", "3", "0.7000", "0.1000", "0.6000", "0.8000"],
        ["ema-0.9", "3", "0.7000", "0.0500", "0.6500", "0.7500"],
        ["ema-0.9999", "3", "0.7500", "0.0500", "0.7000", "0.8000"],
    ]


def test_programs_get_curves_and_figures(judged: Terminal) -> None:
    assert judged("plot", "precision", RUN, "--json") == 0
    found = json.loads(judged.output.getvalue())
    assert found["curves"]["raw"] == [[step, value] for step, value in RAW.items()]
    assert [each["weights"] for each in found["last"]] == ["raw", "ema-0.9", "ema-0.9999"]


def test_the_picture_has_a_named_curve_for_each_kind_of_weights(judged: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "precision.svg"
    assert judged("plot", "precision", RUN, "--output", str(path)) == 0
    tree = ElementTree.parse(path)
    space = "{http://www.w3.org/2000/svg}"
    lines = tree.findall(f"{space}polyline")
    assert [len((line.get("points") or "").split()) for line in lines] == [4, 4, 4]
    assert len({line.get("stroke") for line in lines}) == 3
    texts = [text.text for text in tree.findall(f"{space}text")]
    assert {"raw", "ema-0.9", "ema-0.9999", f"precision at 1 of {RUN}"} <= set(texts)


def test_a_table_for_other_programs_has_a_line_for_each_verdict(judged: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "precision.csv"
    assert judged("plot", "precision", RUN, "--output", str(path)) == 0
    lines = path.read_text().splitlines()
    assert lines[:2] == ["step,weights,precision_at_1", "100,raw,0.5"]
    assert len(lines) == 13


def test_a_picture_of_another_kind_is_refused(judged: Terminal, tmp_path: Path) -> None:
    assert judged("plot", "precision", RUN, "--output", str(tmp_path / "precision.png")) == 2
    assert "neither .svg nor .csv" in judged.complaints.getvalue()


def test_a_run_of_which_nothing_was_judged_says_so() -> None:
    terminal = terminal_with()
    assert terminal("plot", "precision", RUN) != 0
    assert "has been judged yet" in terminal.complaints.getvalue()


def test_one_checkpoint_has_no_spread() -> None:
    assert Steadiness.of("raw", [0.5]).deviation == 0.0


def test_a_flat_curve_of_one_point_can_be_drawn() -> None:
    ElementTree.fromstring(svg_lines({"a": [(5, 0.5)]}, title="a < b"))


def test_a_greater_value_stands_higher() -> None:
    tree = ElementTree.fromstring(svg_lines({"a": [(0, 1.0), (10, 2.0)]}, title="", from_zero=True))
    (line,) = tree.findall("{http://www.w3.org/2000/svg}polyline")
    first, second = (tuple(map(float, point.split(","))) for point in (line.get("points") or "").split())
    assert first[0] < second[0]
    assert first[1] > second[1]


def test_names_that_do_not_fit_into_one_row_go_on_in_the_next() -> None:
    space = "{http://www.w3.org/2000/svg}"
    names = [f"a name of some length {number}" for number in range(6)]
    tree = ElementTree.fromstring(svg_lines({name: [(0, 1.0), (10, 2.0)] for name in names}, title=""))
    texts = [text for text in tree.findall(f"{space}text") if text.text in names]
    rows = sorted({float(text.get("y") or "") for text in texts})
    assert len(texts) == len(names) and len(rows) > 1
    assert all(float(text.get("x") or "") + 7 * len(text.text or "") <= 720 for text in texts)
    heights = [float(point.split(",")[1]) for point in (tree.find(f"{space}polyline").get("points") or "").split()]
    assert min(heights) > rows[-1]


def test_a_logarithmic_axis_gives_each_doubling_the_same_width() -> None:
    tree = ElementTree.fromstring(svg_lines({"a": [(10, 1.0), (20, 1.5), (40, 2.0)]}, title="", logarithmic=True))
    line = tree.find("{http://www.w3.org/2000/svg}polyline")
    first, second, third = (float(point.split(",")[0]) for point in (line.get("points") or "").split())
    assert second - first == pytest.approx(third - second, abs=0.2)
