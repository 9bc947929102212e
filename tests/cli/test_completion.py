"""What the shell offers after Tab, asked as each shell asks."""

import os
import subprocess
import sys

import httpx
import pytest

from tests.cli.fake_gateway import run_view
from tests.cli.terminal import Terminal

RUN, OTHER = "20260102-030405-shapes-0a1b", "20260103-000000-rings-0c0d"
ANSWERS = {
    ("GET", "/v1/runs"): {"runs": [run_view(state="completed"), run_view(id=OTHER, name="rings")]},
    ("GET", "/v1/recipes"): {"recipes": [{"name": "cifar10", "values": {}}, {"name": "shapes", "values": {}}]},
}


class Tab:
    """Presses Tab behind a line, in a shell."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys

    def __call__(self, line: str, *, shell: str = "bash", answers: object = ANSWERS) -> list[str]:
        words = line.split(" ")
        asked = {"_TANDEM_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        asked |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        for name, value in asked.items():
            self.monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit):
            Terminal(dict(answers))()  # type: ignore[call-overload]
        return [line for line in self.capsys.readouterr().out.splitlines() if line]


@pytest.fixture
def tab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tab:
    return Tab(monkeypatch, capsys)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_offered_commands(tab: Tab, shell: str) -> None:
    offered = "\n".join(tab("tandem runs re", shell=shell))
    assert "resume" in offered
    assert "restart" in offered
    assert "kill" not in offered


def test_runs_are_offered_by_name_and_id(tab: Tab) -> None:
    assert sorted(tab("tandem runs show ")) == sorted(["last", "rings", OTHER, "shapes", RUN])
    assert tab("tandem watch 20260103") == [OTHER]
    assert tab("tandem logs sh") == ["shapes"]


def test_recipes_and_states_are_offered(tab: Tab) -> None:
    assert tab("tandem runs start ci") == ["cifar10"]
    assert tab("tandem runs list --state co") == ["completed"]


def test_without_a_gateway_nothing_is_offered_and_nothing_is_said(tab: Tab, capsys: pytest.CaptureFixture[str]) -> None:
    refused = {key: httpx.ConnectError("Connection refused") for key in ANSWERS}
    assert tab("tandem runs show ", answers=refused) == []
    assert tab("tandem runs start ", answers=refused) == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("shell", "text"), [("bash", "complete -o"), ("zsh", "#compdef tandem"), ("fish", "complete")])
def test_the_scripts_for_the_shells_are_shown(shell: str, text: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("_T")}
    shown = subprocess.run(
        [sys.executable, "-m", "services.cli", "--show-completion", shell],
        capture_output=True,
        text=True,
        env=environment | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        check=False,
    )
    assert text in shown.stdout
    assert "_TANDEM_COMPLETE" in shown.stdout
