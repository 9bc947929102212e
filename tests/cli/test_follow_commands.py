"""`tandem logs` and `tandem events`: what there is, and what comes, up to the end of the run."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from tests.cli.fake_gateway import run_view, verdict
from tests.cli.terminal import Terminal

RUN = "20260102-030405-shapes-0a1b"


def line(number: int, **more: Any) -> dict[str, Any]:
    values = {"time": 1767323045.0, "level": "info", "service": "trainer", "message": f"line {number}"}
    return values | {"traceback": None, "details": {}} | more


def sse(*events: tuple[str, str, Any]) -> httpx.Response:
    return httpx.Response(200, text="".join(f"id: {i}\nevent: {k}\ndata: {json.dumps(d)}\n\n" for i, k, d in events))


def pages(*answers: Any) -> Any:
    iterator: Iterator[Any] = iter(answers)
    return lambda: next(iterator)


def test_logs_are_lines_with_time_service_and_level() -> None:
    answers: dict[tuple[str, str], Any] = {("GET", f"/v1/runs/{RUN}"): run_view()}
    answers["GET", f"/v1/runs/{RUN}/logs"] = {"lines": [line(1), line(2, level="error", traceback="Traceback\n")]}
    terminal = Terminal(answers)
    assert terminal("logs", RUN, "--level", "error", "--service", "trainer", "--tail", "5") == 0
    assert [" ".join(text.split()[2:]) for text in terminal.lines] == [
        "trainer info line 1",
        "trainer error line 2",
        "",
    ]
    assert dict(terminal.gateway.requests[-1].url.params) == {"level": "error", "service": "trainer", "tail": "5"}


def test_followed_logs_go_on_behind_what_was_shown_and_end_with_the_run_and_its_last_lines() -> None:
    answers: dict[tuple[str, str], Any] = {("GET", f"/v1/runs/{RUN}"): run_view()}
    answers["GET", f"/v1/runs/{RUN}/logs"] = pages(
        {"lines": [line(1)], "cursor": "tl:10"}, {"lines": [line(3)], "cursor": "tl:30"}
    )
    answers["GET", f"/v1/runs/{RUN}/stream"] = sse(
        ("a", "state", run_view()), ("tl:20", "log", line(2)), ("b", "state", run_view(state="completed"))
    )
    terminal = Terminal(answers)
    assert terminal("logs", RUN, "-f", "--json") == 0
    assert [json.loads(text)["message"] for text in terminal.lines] == ["line 1", "line 2", "line 3"]
    requests = {request.url.path.rpartition("/")[2]: request for request in terminal.gateway.requests}
    assert dict(requests["stream"].url.params) == {"kinds": "state,log", "level": "info", "after": "tl:10"}
    assert requests["logs"].url.params["after"] == "tl:20"


def test_events_say_what_happened_and_why() -> None:
    event = {"time": 1767323045.0, "service": "gateway", "kind": "state", "message": "running: trains", "step": 5}
    answers: dict[tuple[str, str], Any] = {("GET", f"/v1/runs/{RUN}"): run_view(state="completed")}
    answers["GET", f"/v1/runs/{RUN}/events"] = {"events": [event], "cursor": "c", "more": False}
    terminal = Terminal(answers)
    assert terminal("events", RUN, "-f") == 0  # over already, so nothing is followed
    assert " ".join(terminal.lines[0].split()[2:]) == "gateway state running: trains (step 5)"


def test_events_of_all_runs_are_their_states_and_verdicts() -> None:
    stream = pages(
        sse(
            ("1", "state", run_view()),
            ("2", "evaluation", verdict(100, "raw", 0.5)),
            ("3", "removed", {"id": RUN}),
        ),
        httpx.Response(204),
    )
    terminal = Terminal({("GET", "/v1/stream"): stream})
    assert terminal("events", "--follow") == 0
    assert terminal.lines == [
        f"{RUN}  step 150 of 300  loss 1.750  rate 0.1  812 examples/s  ETA 1:15",
        f"{RUN}  step 100: raw 0.500",
        f"{RUN}  removed",
    ]
