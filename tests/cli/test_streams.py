"""Server-sent events: parsed as the standard says, and followed over connections that break."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.cli.client import StreamEvent
from services.cli.client.streams import parsed
from shared.errors import NotFoundError, UnavailableError
from tests.cli.fake_gateway import FakeGateway, error_response

RUN = "20260102-030405-shapes-0a1b"
PATH = f"/v1/runs/{RUN}/stream"


def sse(*events: tuple[str, str, str], tail: str = "") -> httpx.Response:
    text = "".join(f"id: {number}\nevent: {kind}\ndata: {data}\n\n" for number, kind, data in events)
    return httpx.Response(200, text=text + tail, headers={"content-type": "text/event-stream"})


def gateway(*answers: Any) -> FakeGateway:
    iterator: Iterator[Any] = iter(answers)
    return FakeGateway({("GET", PATH): lambda: next(iterator)})


def test_events_are_parsed_with_comments_continued_data_and_retry() -> None:
    lines = [
        ": hello",
        "retry: 250",
        "",
        "event: log",
        "id: 7",
        "data: {",
        'data: "a": 1}',
        "",
        "data: [2]",
        "",
        "event: log",
        "data: {",
    ]
    assert list(parsed(lines)) == [
        0.25,
        StreamEvent(kind="log", id="7", data={"a": 1}),
        StreamEvent(kind="message", id="7", data={"value": [2]}),
    ]


def test_broken_stream_goes_on_behind_the_last_event_that_came_whole() -> None:
    there = gateway(
        sse(("1", "state", '{"n": 1}'), ("2", "log", '{"n": 2}'), tail='id: 3\nevent: log\ndata: {"n'),
        httpx.ConnectError("Connection refused"),
        sse(("3", "log", '{"n": 3}')),
        httpx.Response(204),
    )
    waits: list[float] = []
    events = list(there.client().stream(RUN, kinds=("state", "log"), level="info", sleep=waits.append))
    assert [event.data["n"] for event in events] == [1, 2, 3]
    assert [request.headers.get("last-event-id") for request in there.requests] == [None, "2", "2", "3"]
    assert dict(there.requests[0].url.params) == {"kinds": "state,log", "level": "info"}
    assert waits == [1.0, 1.0, 1.0]


def test_gateway_says_how_long_to_wait_before_connecting_anew() -> None:
    there = gateway(httpx.Response(200, text="retry: 50\n\n"), httpx.Response(204))
    waits: list[float] = []
    assert list(there.client().stream(RUN, sleep=waits.append)) == []
    assert waits == [0.05]


def test_gateway_that_never_answered_is_given_up_at_once() -> None:
    waits: list[float] = []
    with pytest.raises(UnavailableError):
        next(gateway(httpx.ConnectError("refused")).client().stream(RUN, sleep=waits.append))
    assert waits == []


def test_gateway_that_stays_away_is_given_up_after_a_while() -> None:
    def answers() -> Iterator[Any]:
        yield sse(("1", "state", "{}"))
        while True:
            yield httpx.ConnectError("refused")

    iterator = answers()
    there = FakeGateway({("GET", PATH): lambda: next(iterator)})
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    stream = there.client().stream(RUN, sleep=sleep, clock=lambda: now[0], patience=10)
    assert next(stream).id == "1"
    with pytest.raises(UnavailableError):
        next(stream)
    assert 10 < now[0] < 15


def test_refusal_is_no_reason_to_try_again() -> None:
    there = gateway(error_response(404, "not_found", "there is no such run"))
    with pytest.raises(NotFoundError):
        next(there.client().stream(RUN, sleep=lambda _: None))
    assert len(there.requests) == 1
