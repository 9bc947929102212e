"""Curves of runs: drawn as text, as SVG and as CSV, and watched while they grow."""

import csv
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from services.cli.client.views import Evaluation, Run
from services.cli.plots.chart import Curve, text_chart
from services.cli.watching import Watched, picture
from tests.cli.fake_gateway import FakeGateway, run_view, verdict
from tests.cli.terminal import Terminal

RUN, OTHER = "20260102-030405-shapes-0a1b", "20260103-000000-shapes-0c0d"
SERIES = {"run": RUN, "step": [10, 20, 30], "loss": [3.0, None, 1.0], "average_loss": [3.0, 2.5, 2.0]}
VERDICTS = [verdict(100, "raw", 0.5), verdict(200, "raw", 0.6), verdict(200, "ema", 0.7), verdict(300, "raw", None)]


def answers(**states: Any) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for run in (RUN, OTHER):
        found["GET", f"/v1/runs/{run}"] = run_view(id=run, **states)
        found["GET", f"/v1/runs/{run}/series"] = SERIES
        found["GET", f"/v1/runs/{run}/evaluations"] = {"evaluations": VERDICTS}
    return found


def test_curve_of_text_rises_from_the_lower_left_to_the_upper_right() -> None:
    lines = [line.plain for line in text_chart([Curve("a", [(0, 0.0), (1, 1.0)])], width=4, height=2)]
    assert (lines[0], lines[3]) == ("● a", "   0  1")
    assert (lines[1][3], lines[2][6]) == ("⠀", "⠀")
    assert lines[1][6] != "⠀" != lines[2][3]


def test_values_that_are_none_or_all_the_same_are_drawn_around() -> None:
    assert text_chart([Curve("a", [(5, None)])])[-1].plain == "nothing to draw yet"
    assert len(text_chart([Curve("a", [(5, 2.0)])], height=3)) == 5


def test_curves_are_written_as_csv_with_a_column_each_and_gaps_left_empty(tmp_path: Path) -> None:
    path = tmp_path / "loss.csv"
    assert Terminal(answers())("plot", "loss", RUN, "--output", str(path)) == 0
    rows = list(csv.reader(io.StringIO(path.read_text())))
    assert rows == [["step", "loss", "averaged loss"], ["10", "3.0", "3.0"], ["20", "", "2.5"], ["30", "1.0", "2.0"]]


def test_loss_is_written_as_svg_with_a_legend(tmp_path: Path) -> None:
    path = tmp_path / "loss.svg"
    assert Terminal(answers())("plot", "loss", RUN, "--output", str(path)) == 0
    texts = [element.text for element in ElementTree.fromstring(path.read_text()).iter() if element.text]
    assert {"loss", "averaged loss", f"loss of {RUN}"} <= set(texts)


def test_loss_of_several_runs_is_the_averaged_one_of_each() -> None:
    terminal = Terminal(answers())
    assert terminal("plot", "loss", RUN, OTHER, "--json") == 0
    assert [curve["name"] for curve in json.loads(terminal.output.getvalue())] == [
        f"{RUN} averaged loss",
        f"{OTHER} averaged loss",
    ]


def test_another_kind_of_file_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    terminal = Terminal(answers())
    assert terminal("plot", "loss", RUN, "--output", str(tmp_path / "loss.png")) == 2
    assert terminal.gateway.requests == []


def test_nothing_to_draw_yet_is_said(tmp_path: Path) -> None:
    empty = answers()
    empty["GET", f"/v1/runs/{RUN}/series"] = {"run": RUN}
    assert Terminal(empty)("plot", "loss", RUN, "--output", str(tmp_path / "a.svg")) == 4


@pytest.mark.parametrize(("state", "code"), [("completed", 0), ("failed", 1)])
def test_watching_without_a_terminal_is_lines_and_ends_with_the_run(state: str, code: int) -> None:
    terminal = Terminal(answers(state=state, checkpoint_step=200))
    assert terminal("watch", RUN, OTHER) == code
    assert f"{RUN}  evaluation of step 200: precision at 1 EMA 0.9999 0.700" in terminal.lines
    assert f"{OTHER}  step 150 of 300  {state}" in terminal.lines


def test_a_run_is_watched_until_every_kind_of_its_last_weights_was_judged() -> None:
    spec = {"name": "shapes", "steps": 200, "ema": {"decays": [0.9999, 0.999]}}
    watched = Watched(run=Run.model_validate(run_view(state="completed", checkpoint_step=200, spec=spec)))
    verdicts = [verdict(100, "ema", 0.5), verdict(200, "raw", 0.6), verdict(200, "ema", 0.7)]
    watched.evaluations = [Evaluation.model_validate(each) for each in verdicts]
    assert not watched.over
    watched.evaluations.append(Evaluation.model_validate(verdict(200, "ema", None, decay=0.999, status="failed")))
    assert watched.over


def test_watching_for_programs_is_a_line_for_each_verdict_and_each_change() -> None:
    terminal = Terminal(answers(state="completed", checkpoint_step=200))
    assert terminal("watch", RUN, "--json") == 0
    told = [json.loads(line) for line in terminal.lines]
    assert [each["kind"] for each in told] == ["evaluation"] * len(VERDICTS) + ["state"]
    assert (told[1]["run"], told[1]["step"], told[1]["precision_at_1"]) == (RUN, 200, 0.6)
    assert (told[-1]["id"], told[-1]["state"]) == (RUN, "completed")


def test_watched_run_shows_a_bar_both_curves_and_the_best_precision() -> None:
    gateway = FakeGateway(answers())
    watched = Watched(run=Run.model_validate(run_view()))
    watched.refresh(gateway.client())
    output = io.StringIO()
    Console(file=output, width=80).print(picture([watched], width=80, note="gone for a moment"))
    text = output.getvalue()
    assert "50% running" in text
    assert "● loss  ● averaged loss" in text
    assert "precision at 1, best EMA 0.9999 0.700 at step 200" in text
    assert "gone for a moment" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_curves_are_asked_for_only_when_there_can_be_new_points() -> None:
    gateway = FakeGateway(answers())
    watched = Watched(run=Run.model_validate(run_view()))
    client = gateway.client()
    for _ in range(3):
        watched.refresh(client)
    paths = [request.url.path.rpartition("/")[2] for request in gateway.requests]
    assert (paths.count("series"), paths.count("evaluations"), paths.count(RUN)) == (1, 1, 3)
