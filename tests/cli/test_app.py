"""The commands: what they send, what they print, and with which code they exit."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.fake_gateway import error_response, run_view, verdict
from tests.cli.terminal import Terminal

RUN = "20260102-030405-shapes-0a1b"
BEST = {"step": 100, "weights": "ema", "decay": 0.9999, "precision_at_1": 0.61, "interval": [0.59, 0.63]}
MODEL = {"model": "best", "run": RUN, "step": 100, "weights": "ema", "decay": 0.9999, "precision_at_1": 0.61}
PNG = b"\x89PNG\r\n\x1a\n and more"
ANSWER = {
    "model": "best",
    "run": RUN,
    "step": 100,
    "weights": "ema",
    "decay": 0.9999,
    "precision_at_1": 0.61,
    "predictions": [{"classes": [{"label": "ring", "probability": 0.9}, {"label": "disc", "probability": 0.1}]}],
}


def test_start_prints_the_id_alone_so_that_scripts_can_take_it() -> None:
    terminal = Terminal({("POST", "/v1/runs"): httpx.Response(201, json=run_view())})
    assert terminal("runs", "start", "shapes") == 0
    assert terminal.output.getvalue() == f"{RUN}\n"
    assert terminal.gateway.sent() == {"recipe": "shapes", "spec": {}}


def test_start_lays_flags_over_settings_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("steps: 5\nbatch_size: 32\nema: {decays: [0.9]}\n")
    terminal = Terminal({("POST", "/v1/runs"): httpx.Response(201, json=run_view())})
    settings = ("--set", "ema.decays=[0.99, 0.999]", "--set", "augment.flip=false", "--set", "steps=6")
    assert terminal("runs", "start", "--spec", str(path), *settings, "--steps", "7", "--data", "/pictures") == 0
    assert terminal.gateway.sent() == {
        "recipe": None,
        "spec": {
            "steps": 7,
            "batch_size": 32,
            "ema": {"decays": [0.99, 0.999]},
            "augment": {"flip": False},
            "dataset": {"path": "/pictures"},
        },
    }


def test_list_shows_a_line_per_run_the_newest_last() -> None:
    runs = [run_view(id="20260202-000000-late-0000", best=BEST), run_view(id="20260101-000000-early-0000")]
    terminal = Terminal({("GET", "/v1/runs"): {"runs": runs}})
    assert terminal("runs", "list") == 0
    lines = terminal.output.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["run", "20260101-000000-early-0000", "20260202-000000-late-0000"]
    assert "EMA 0.9999 0.610 (0.590-0.630) @ 100" in lines[2]


def test_list_without_runs_says_how_to_start_one() -> None:
    terminal = Terminal({("GET", "/v1/runs"): {"runs": []}})
    assert terminal("runs", "list") == 0
    assert terminal.output.getvalue() == ""
    assert "tandem runs start" in terminal.complaints.getvalue()


@pytest.mark.parametrize("name", [RUN, "shapes", "last"])
def test_show_takes_an_id_a_name_or_last(name: str) -> None:
    answers = {
        ("GET", "/v1/runs"): {"runs": [run_view(id="20250101-000000-shapes-0000"), run_view()]},
        ("GET", f"/v1/runs/{RUN}"): run_view(best=BEST),
        ("GET", f"/v1/runs/{RUN}/evaluations"): {"evaluations": [verdict(100, "raw", 0.58), verdict(100, "ema", 0.61)]},
    }
    terminal = Terminal(answers)
    assert terminal("runs", "show", name) == 0
    assert f"run         {RUN}\n" in terminal.output.getvalue()
    assert "judged      step 100: EMA 0.9999 0.610, raw 0.580\n" in terminal.output.getvalue()


def test_show_says_why_a_run_failed() -> None:
    failure = {"code": "diverged", "message": "the loss is nan", "where": None, "hint": "Lower the rate"}
    terminal = Terminal({("GET", f"/v1/runs/{RUN}"): run_view(state="failed", failure=failure)})
    terminal.gateway.answers["GET", f"/v1/runs/{RUN}/evaluations"] = {"evaluations": []}
    assert terminal("runs", "show", RUN) == 0
    assert "failure     the loss is nan. Lower the rate\n" in terminal.output.getvalue()


def test_stop_says_what_state_that_brings() -> None:
    terminal = Terminal(
        {
            ("GET", f"/v1/runs/{RUN}"): run_view(),
            ("POST", f"/v1/runs/{RUN}:stop"): httpx.Response(202, json=run_view(state="stopping")),
        }
    )
    assert terminal("runs", "stop", RUN) == 0
    assert terminal.output.getvalue() == f"{RUN} stopping\n"


def test_recipes_are_listed_however_the_gateway_describes_them() -> None:
    terminal = Terminal({("GET", "/v1/recipes"): {"recipes": [{"name": "cifar10", "spec": {}}, "shapes"]}})
    assert terminal("recipes") == 0
    assert terminal.output.getvalue() == "cifar10\nshapes\n"


def test_predict_says_the_classes_and_which_weights_answered(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    terminal = Terminal({("POST", "/v1/models/best:classify"): ANSWER})
    assert terminal("predict", str(tmp_path / "a.png"), str(tmp_path / "b.jpg")) == 0
    first, second = terminal.output.getvalue().splitlines()
    assert first == (
        f"{tmp_path}/a.png: ring 0.900, disc 0.100  (EMA 0.9999 weights of step 100, run {RUN}, precision at 1 0.610)"
    )
    assert second.startswith(f"{tmp_path}/b.jpg: ring")
    sent = [(request.headers["content-type"], request.url.params["top"]) for request in terminal.gateway.requests]
    assert sent == [("image/png", "3"), ("image/jpeg", "3")]


def test_predict_of_something_else_than_a_picture_sends_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "notes.txt").write_text("hello")
    terminal = Terminal({("POST", "/v1/models/best:classify"): ANSWER})
    assert terminal("predict", str(tmp_path / "a.png"), str(tmp_path / "notes.txt")) == 2
    assert f"{tmp_path}/notes.txt: is no PNG, JPEG or WebP picture" in terminal.complaints.getvalue()
    assert terminal.gateway.requests == []


def test_predict_of_a_missing_file_names_it(tmp_path: Path) -> None:
    terminal = Terminal()
    assert terminal("predict", str(tmp_path / "none.png")) == 2
    assert f"{tmp_path}/none.png: No such file" in terminal.complaints.getvalue()


def test_models_are_listed_with_their_precision() -> None:
    terminal = Terminal({("GET", "/v1/models"): {"models": [MODEL, MODEL | {"model": RUN}]}})
    assert terminal("models") == 0
    _, best, run = (line.split() for line in terminal.output.getvalue().splitlines())
    assert best == ["best", "EMA", "0.9999", "100", "0.610", RUN]
    assert run == [RUN, "EMA", "0.9999", "100", "0.610", RUN]


def test_no_models_yet_says_what_brings_the_first() -> None:
    terminal = Terminal({("GET", "/v1/models"): {"models": []}})
    assert terminal("models") == 0
    assert terminal.output.getvalue() == ""
    assert "first checkpoint" in terminal.complaints.getvalue()


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("runs", "list"), 0),
        (("runs", "show", RUN), "evaluations"),
        (("runs", "start", "shapes"), "id"),
        (("runs", "stop", RUN), "state"),
        (("models",), 0),
        (("recipes",), 0),
    ],
)
def test_json_is_one_document_on_standard_output(arguments: tuple[str, ...], key: str | int) -> None:
    terminal = Terminal(
        {
            ("GET", "/v1/runs"): {"runs": [run_view(best=BEST)]},
            ("POST", "/v1/runs"): run_view(),
            ("GET", f"/v1/runs/{RUN}"): run_view(),
            ("GET", f"/v1/runs/{RUN}/evaluations"): {"evaluations": [verdict(100, "raw", 0.5)]},
            ("POST", f"/v1/runs/{RUN}:stop"): run_view(state="stopping"),
            ("GET", "/v1/recipes"): {"recipes": ["shapes"]},
            ("GET", "/v1/models"): {"models": [MODEL]},
        }
    )
    assert terminal(*arguments, "--json") == 0
    assert json.loads(terminal.output.getvalue())[key]
    assert terminal.complaints.getvalue() == ""


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (error_response(422, "bad_spec", "must be positive", where="steps", hint="Take a positive one"), 2),
        (httpx.ConnectError("Connection refused"), 3),
        (error_response(503, "unavailable", "every slot is taken"), 3),
        (error_response(404, "not_found", "there is no recipe 'x'"), 4),
        (error_response(409, "conflict", "it is over"), 5),
        (error_response(500, "internal", "a bug"), 1),
    ],
)
def test_error_is_one_line_and_an_exit_code(answer: Any, code: int) -> None:
    terminal = Terminal({("POST", "/v1/runs"): answer})
    assert terminal("runs", "start", "x") == code
    (line,) = terminal.complaints.getvalue().splitlines()
    assert line.startswith("tandem: ")
    assert terminal.output.getvalue() == ""


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("runs", "nonsense"), ("runs", "start", "--steps", "many"), ("predict",), ("runs", "show")],
)
def test_wrong_usage_is_one_line_that_names_it_and_exits_2(arguments: tuple[str, ...]) -> None:
    terminal = Terminal()
    assert terminal(*arguments) == 2
    (line,) = terminal.complaints.getvalue().splitlines()
    assert line.startswith("tandem: ") and "--help" in line


@pytest.mark.parametrize("setting", ["steps", "=3", "a..b=1", "steps=[1"])
def test_bad_setting_is_refused_before_anything_is_sent(setting: str) -> None:
    terminal = Terminal()
    assert terminal("runs", "start", "shapes", "--set", setting) == 2
    assert "--set" in terminal.complaints.getvalue()
    assert terminal.gateway.requests == []


def test_version_is_printed() -> None:
    terminal = Terminal()
    assert terminal("--version") == 0
    assert terminal.output.getvalue().strip()


ALIAS = {
    "alias": "stable",
    "step": 400,
    "precision_at_1": 0.435,
    "moves": "by hand",
    "pinned": False,
    "canary": None,
    "reason": "the demo of Friday",
    "time": 5.0,
    "history": [],
}


def test_an_alias_is_moved_with_a_reason_and_only_what_was_said_is_sent() -> None:
    path = f"/v1/models/{RUN}/aliases"
    terminal = Terminal({("PUT", f"{path}/stable"): ALIAS, ("PUT", f"{path}/best"): ALIAS | {"pinned": True}})
    assert terminal("models", "promote", RUN, "400", "--reason", "the demo of Friday") == 0
    assert terminal.lines == ["stable  step 400  precision at 1 0.435  (the demo of Friday)"]
    assert terminal.gateway.sent() == {"step": 400, "reason": "the demo of Friday"}
    assert terminal("models", "promote", RUN, "--alias", "best", "--unpin") == 0
    assert terminal.gateway.sent() == {"pinned": False}


def test_an_alias_is_rolled_back_tried_out_listed_and_removed() -> None:
    path, canary = f"/v1/models/{RUN}/aliases", {"step": 300, "share": 0.1}
    terminal = Terminal(
        {
            ("POST", f"{path}/stable:rollback"): ALIAS,
            ("PUT", f"{path}/stable/canary"): ALIAS | {"canary": canary},
            ("DELETE", f"{path}/stable/canary"): ALIAS,
            ("GET", path): {"model": RUN, "run": RUN, "aliases": [ALIAS | {"pinned": True}]},
            ("DELETE", f"{path}/mine"): httpx.Response(204),
        }
    )
    assert terminal("models", "rollback", RUN) == 0
    assert terminal("models", "canary", RUN, "300", "--share", "0.1") == 0
    assert "10% of requests go to step 300" in terminal.lines[-1]
    assert terminal("models", "canary", RUN, "--end") == 0
    assert terminal("models", "aliases", RUN) == 0
    assert "pinned" in terminal.lines[-1]
    assert terminal("models", "unalias", RUN, "mine") == 0
    assert terminal("models", "canary", RUN) == 2
