"""`tandem plot rate` draws what the trainer will do, with no gateway and no TensorFlow."""

import csv
import io
import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from services.cli.app import run
from services.cli.client import Client
from services.cli.plots.curve import text_curve
from services.cli.session import Session
from services.cli.settings import CliSettings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "learning-rates.md").read_text(encoding="utf-8")


def tandem(*arguments: str) -> tuple[int, str, str]:
    def connect(_url: str, *, key: str | None = None) -> Client:
        raise AssertionError("no gateway is needed")

    output, complaints = io.StringIO(), io.StringIO()
    session = Session(
        settings=CliSettings(), connect=connect, console=Console(file=output), errors=Console(file=complaints)
    )
    return run(arguments, session), output.getvalue(), complaints.getvalue()


def test_the_rate_of_a_recipe_is_drawn_between_zero_and_its_greatest_value() -> None:
    code, output, _ = tandem("plot", "rate", "cifar10-tutorial")
    title, *lines, ends = output.splitlines()
    assert code == 0
    assert title == "learning rate of cifar10-tutorial: exponential, staircase, 1,000,000 steps of 128"
    assert lines[0].startswith("0.1 ┤")
    assert lines[-1].startswith("  0 ┤")
    assert ends.split() == ["0", "999,999"]


def test_a_curve_of_text_has_its_first_value_left_and_its_last_right() -> None:
    lines = text_curve([(0, 0.0), (1, 1.0)], width=4, height=2)
    assert lines == ["1 ┤⠀⠀⠀⢸", "0 ┤⣀⣀⣀⣸", "   0  1"]


def test_points_are_written_as_csv_that_keeps_every_digit(tmp_path: Path) -> None:
    path = tmp_path / "rate.csv"
    code, output, complaints = tandem(
        "plot", "rate", "--set", "learning_rate.kind=cosine", "--steps", "1001", "--points", "3", "--output", str(path)
    )
    assert (code, output) == (0, "")
    assert "wrote" in complaints
    rows = list(csv.reader(io.StringIO(path.read_text())))
    assert rows[0] == ["step", "learning_rate"]
    assert [int(step) for step, _ in rows[1:]] == [0, 500, 1000]
    assert [float(rate) for _, rate in rows[1:]] == pytest.approx([0.1, 0.05, 0.0], abs=2e-4)


def test_json_has_the_points_and_nothing_else() -> None:
    code, output, _ = tandem("plot", "rate", "shapes", "--points", "2", "--json")
    assert (code, json.loads(output)) == (0, {"step": [0, 1199], "learning_rate": [0.02, 0.02]})


def test_an_epoch_of_unknown_length_is_asked_for_where_the_rate_depends_on_it() -> None:
    arguments = ("plot", "rate", "--set", "dataset.kind=npz", "--steps", "8", "--points", "8", "--json")
    code, _, complaints = tandem(*arguments)
    assert code == 2
    assert "--examples: an epoch's length is not known" in complaints
    settings = ("--set", "learning_rate={kind: exponential, every_epochs: 1}", "--set", "batch_size=10")
    code, output, _ = tandem(*arguments, "--examples", "40", *settings)
    assert code == 0
    assert json.loads(output)["learning_rate"] == pytest.approx([0.1] * 4 + [0.01] * 4)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--set", "learning_rate.kind=square"), "learning_rate"),
        (("nothing",), "there is no recipe 'nothing'"),
        (("--output", "rate.gif"), "is neither .svg nor .csv"),
        (("--output", "/no/such/folder/rate.csv"), "No such file"),
    ],
)
def test_what_cannot_be_drawn_is_named(arguments: tuple[str, ...], complaint: str) -> None:
    code, output, complaints = tandem("plot", "rate", *arguments)
    assert code in (2, 4)
    assert output == ""
    assert complaint in complaints


@pytest.mark.parametrize("command", re.findall(r"^\$ tandem (plot rate .*)$", DOCUMENT, re.MULTILINE))
def test_the_pictures_in_the_document_are_what_their_commands_draw(command: str, tmp_path: Path) -> None:
    *arguments, picture = shlex.split(command)
    code, _, complaints = tandem(*arguments, str(tmp_path / "drawn.svg"))
    assert code == 0, complaints
    drawn = (tmp_path / "drawn.svg").read_text(encoding="utf-8")
    assert drawn == (ROOT / picture).read_text(encoding="utf-8")
    assert f"({picture.removeprefix('docs/')})" in DOCUMENT
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
