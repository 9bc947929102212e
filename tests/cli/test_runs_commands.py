"""`tandem runs`: what is asked of one run, and of many."""

import json
from typing import Any

import httpx
import pytest

from tests.cli.fake_gateway import error_response, run_view
from tests.cli.terminal import Terminal

RUN, OTHER = "20260102-030405-shapes-0a1b", "20260103-000000-shapes-0c0d"
BEST = {"step": 100, "weights": "ema", "decay": 0.9999, "precision_at_1": 0.61, "interval": [0.59, 0.63]}


def bulk(*results: tuple[str, int, dict[str, Any] | None]) -> dict[str, Any]:
    return {"results": [{"run": run, "status": status, "error": error} for run, status, error in results]}


@pytest.mark.parametrize(
    ("arguments", "verb", "sent"),
    [
        (("pause",), "pause", {"kind": "release"}),
        (("pause", "--hold"), "pause", {"kind": "hold"}),
        (("resume",), "resume", {}),
        (("resume", "--steps", "900"), "resume", {"steps": 900}),
        (("stop",), "stop", None),
        (("kill",), "kill", None),
        (("restart",), "restart", None),
    ],
)
def test_one_run_is_asked_by_its_own_route(arguments: tuple[str, ...], verb: str, sent: Any) -> None:
    answers = {
        ("GET", f"/v1/runs/{RUN}"): run_view(),
        ("POST", f"/v1/runs/{RUN}:{verb}"): httpx.Response(202, json=run_view(state="pausing")),
    }
    terminal = Terminal(answers)
    assert terminal("runs", arguments[0], RUN, *arguments[1:]) == 0
    assert terminal.lines == [f"{RUN} pausing"]
    body = terminal.gateway.requests[-1].content
    assert (json.loads(body) if body else None) == sent


def test_what_one_of_many_refuses_stops_no_other_and_decides_the_exit_code() -> None:
    refusal = {"code": "conflict", "message": "it has completed", "where": "run", "hint": "Allowed now: delete"}
    terminal = Terminal(
        {
            ("GET", f"/v1/runs/{RUN}"): run_view(),
            ("GET", f"/v1/runs/{OTHER}"): run_view(id=OTHER),
            ("POST", "/v1/runs:stop"): bulk((RUN, 409, refusal), (OTHER, 202, None)),
        }
    )
    assert terminal("runs", "stop", RUN, OTHER, RUN) == 5
    assert terminal.gateway.sent() == {"runs": [RUN, OTHER]}
    assert terminal.lines == [f"{OTHER} stops"]
    assert f"tandem: {RUN}: run: it has completed. Allowed now: delete" in terminal.complaints.getvalue()


def test_filters_are_left_to_the_gateway() -> None:
    terminal = Terminal({("POST", "/v1/runs:pause"): bulk((RUN, 202, None))})
    assert terminal("runs", "pause", "--state", "running,queued", "--label", "owner=me", "--name", "shapes") == 0
    chosen = {"state": ["running", "queued"], "label": "owner=me", "name": "shapes"}
    assert terminal.gateway.sent() == {"filter": chosen}


@pytest.mark.parametrize("verb", ["pause", "resume", "stop", "kill", "restart", "delete"])
def test_saying_nothing_never_means_every_run(verb: str) -> None:
    terminal = Terminal()
    assert terminal("runs", verb) == 2
    assert "which runs?" in terminal.complaints.getvalue()
    assert terminal("runs", verb, RUN, "--state", "failed") == 2
    assert terminal.gateway.requests == []


def test_unknown_state_is_refused_with_those_that_there_are() -> None:
    terminal = Terminal()
    assert terminal("runs", "list", "--state", "asleep") == 2
    assert "no state is called 'asleep'. There are queued, " in terminal.complaints.getvalue()


def test_delete_says_first_what_it_would_delete() -> None:
    terminal = Terminal({("GET", "/v1/runs"): {"runs": [run_view(state="failed")], "next": None}})
    assert terminal("runs", "delete", "--state", "failed") == 2
    assert f"would delete {RUN}. Say --yes to do it" in " ".join(terminal.complaints.getvalue().split())
    assert [request.method for request in terminal.gateway.requests] == ["GET"]


def test_delete_of_one_run_takes_an_answer_without_a_body() -> None:
    terminal = Terminal({("GET", f"/v1/runs/{RUN}"): run_view(), ("DELETE", f"/v1/runs/{RUN}"): httpx.Response(204)})
    assert terminal("runs", "delete", RUN, "--yes") == 0
    assert terminal.lines == [f"{RUN} deleted"]


def test_list_follows_pages_and_hides_them() -> None:
    pages = iter(
        [
            {"runs": [run_view(id=OTHER)], "next": "abc"},
            {"runs": [run_view()], "next": None},
        ]
    )
    terminal = Terminal({("GET", "/v1/runs"): lambda: next(pages)})
    assert terminal("runs", "list", "--state", "running", "--json") == 0
    assert [run["id"] for run in json.loads(terminal.output.getvalue())] == [RUN, OTHER]
    queries = [dict(request.url.params) for request in terminal.gateway.requests]
    assert queries == [{"state": "running", "limit": "1000"}, {"state": "running", "limit": "1000", "cursor": "abc"}]


def test_fork_names_the_checkpoint_and_what_is_different() -> None:
    terminal = Terminal(
        {
            ("GET", f"/v1/runs/{RUN}"): run_view(best=BEST),
            ("POST", f"/v1/runs/{RUN}:fork"): httpx.Response(201, json=run_view(id=OTHER)),
        }
    )
    assert terminal("runs", "fork", RUN, "--step", "best", "--set", "seed=1", "--key", "once") == 0
    assert terminal.lines == [OTHER]
    assert terminal.gateway.sent() == {"step": 100, "spec": {"seed": 1}}
    assert terminal.gateway.requests[-1].headers["idempotency-key"] == "once"


def test_every_start_has_a_key_of_its_own() -> None:
    terminal = Terminal({("POST", "/v1/runs"): httpx.Response(201, json=run_view())})
    assert terminal("runs", "start", "shapes") == 0
    assert terminal("runs", "start", "shapes") == 0
    keys = [request.headers["idempotency-key"] for request in terminal.gateway.requests]
    assert len(set(keys)) == 2


def test_tag_changes_priority_and_labels_and_takes_labels_away() -> None:
    changed = run_view(priority=5, labels={"owner": "me"})
    terminal = Terminal({("GET", f"/v1/runs/{RUN}"): run_view(), ("PATCH", f"/v1/runs/{RUN}"): changed})
    assert terminal("runs", "tag", RUN, "--priority", "5", "--label", "owner=me", "--label", "draft=") == 0
    assert terminal.gateway.sent() == {"priority": 5, "labels": {"owner": "me", "draft": None}}
    assert terminal.lines == [f"{RUN} priority 5, labels owner=me"]


def test_pin_takes_steps_by_number_best_and_last() -> None:
    answers: dict[tuple[str, str], Any] = {
        ("GET", f"/v1/runs/{RUN}"): run_view(best=BEST),
        ("GET", f"/v1/runs/{RUN}/checkpoints"): {"checkpoints": [{"step": 100}, {"step": 150}]},
    }
    answers |= {("POST", f"/v1/runs/{RUN}/checkpoints/{step}:pin"): {"step": step} for step in (50, 100, 150)}
    terminal = Terminal(answers)
    assert terminal("runs", "pin", RUN, "50", "best", "last") == 0
    assert terminal.lines == [f"{RUN} step {step} pinned" for step in (50, 100, 150)]
    assert terminal("runs", "pin", RUN, "newest") == 2


def test_what_was_pinned_is_told_to_programs() -> None:
    answers: dict[tuple[str, str], Any] = {("GET", f"/v1/runs/{RUN}"): run_view()}
    answers |= {("POST", f"/v1/runs/{RUN}/checkpoints/50:{verb}"): {"step": 50} for verb in ("pin", "unpin")}
    for verb in ("pin", "unpin"):
        terminal = Terminal(answers)
        assert terminal("runs", verb, RUN, "50", "--json") == 0
        assert json.loads(terminal.output.getvalue()) == [{"run": RUN, "step": 50, "pinned": verb == "pin"}]


def test_compare_shows_only_the_settings_that_differ() -> None:
    first = run_view(spec={"seed": 0, "batch_size": 128, "ema": {"decays": [0.9999]}}, best=BEST)
    second = run_view(id=OTHER, spec={"seed": 1, "batch_size": 128, "ema": {"decays": [0.99]}})
    terminal = Terminal({("GET", f"/v1/runs/{RUN}"): first, ("GET", f"/v1/runs/{OTHER}"): second})
    assert terminal("runs", "compare", RUN, OTHER) == 0
    rows = {line.split("  ")[0]: line for line in terminal.lines}
    assert {"seed", "ema.decays", "best precision at 1"} <= rows.keys()
    assert "batch_size" not in rows
    assert "EMA 0.9999 0.610 (0.590-0.630) @ 100 *" in rows["best precision at 1"]
    assert terminal("runs", "compare", RUN) == 2


def test_show_tells_place_in_the_queue_origin_and_what_is_allowed() -> None:
    view = run_view(
        state="queued",
        position=2,
        priority=7,
        allowed=["pause", "stop"],
        forked_from={"run": OTHER, "step": 1200},
        wall_seconds=61.5,
        restarts=1,
        numerics={
            **{"precision": "mixed_bfloat16", "devices": "CPU:0", "device_description": "AMD EPYC", "onednn": "1"},
            **{"processor_features": "avx512_bf16", "intra_op_threads": "2", "tensorflow": "2.21.0", "xla": "true"},
        },
    )
    terminal = Terminal({("GET", f"/v1/runs/{RUN}"): view, ("GET", f"/v1/runs/{RUN}/evaluations"): {"evaluations": []}})
    listed = [{"step": 100, "bytes": 12_800_000, "pinned": True}]
    terminal.gateway.answers["GET", f"/v1/runs/{RUN}/checkpoints"] = {"checkpoints": listed}
    assert terminal("runs", "show", RUN, "--checkpoints") == 0
    for line in (
        "queue       place 2, priority 7",
        f"forked      from step 1,200 of {OTHER}",
        "trained     for 1:02, 1 restarts",
        "computes    mixed_bfloat16 on CPU:0 (AMD EPYC, avx512_bf16), compiled by XLA, oneDNN on, 2 threads,"
        " TensorFlow 2.21.0",
        "allowed     pause, stop",
        "checkpoint  step 100: 12.8 MB, pinned",
    ):
        assert line in terminal.lines


def test_key_of_the_environment_is_handed_to_the_client() -> None:
    terminal = Terminal(
        {("GET", "/v1/slots"): {"slots": [{"name": "slot-0", "state": "busy", "run": RUN}]}}, api_key="k"
    )
    assert terminal("slots") == 0
    assert terminal.lines == [f"slot-0  busy  {RUN}"]
    assert terminal.keys == ["k"]


def test_refusal_for_want_of_a_key_is_an_error_like_any_other() -> None:
    terminal = Terminal({("GET", "/v1/slots"): error_response(401, "unauthorized", "no key", hint="TANDEM_API_KEY")})
    assert terminal("slots") != 0
    assert "TANDEM_API_KEY" in terminal.complaints.getvalue()
