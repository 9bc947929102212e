import errno
import logging
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from services.gateway.errors import status_of
from shared import errors

JSON = {"content-type": "application/json"}


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int


routes = APIRouter()


@routes.post("/v1/things/{name}:take")
def take(name: str, body: Body) -> dict[str, Any]:
    return {"name": name, "number": body.number}


@routes.get("/v1/things/{name}")
def show(name: str) -> dict[str, str]:
    if name == "mistake":
        raise RuntimeError("the secret is 42")
    if name == "away":
        raise errors.UnavailableError("no model yet", where="model", hint="Wait")
    if name == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/volume/runs/a")
    if name == "gone":
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/volume/runs/a")
    return {"name": name}


@routes.delete("/v1/things/{name}")
def remove(name: str) -> dict[str, str]:
    return {"name": name}


@pytest.fixture
def client(bench: Any) -> Any:
    return bench.client(routers=[routes], body_bytes=200, picture_bytes=2_000)


def problem(answer: Any) -> dict[str, Any]:
    body = answer.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["code", "message", "where", "hint"]
    return body["error"]


def test_an_unknown_field_is_named_with_its_path(client: Any) -> None:
    answer = client.post("/v1/things/a:take", json={"number": 1, "colour": "red"})
    assert answer.status_code == 422
    assert problem(answer)["where"] == "body.colour"
    assert problem(answer)["message"] == "body.colour: unknown"


def test_every_bad_field_is_named_at_once(client: Any) -> None:
    answer = client.post("/v1/things/a:take", json={"number": "x", "colour": "red"})
    assert problem(answer)["where"] == "body.number, body.colour"


def test_a_body_that_is_not_json_says_at_which_character(client: Any) -> None:
    answer = client.post("/v1/things/a:take", content=b'{"number": }', headers=JSON)
    assert answer.status_code == 400
    assert problem(answer)["code"] == "bad_json"
    assert problem(answer)["where"] == "body, character 11"


def test_an_unknown_route_is_404_in_the_one_shape(client: Any) -> None:
    answer = client.get("/v3/nothing")
    assert answer.status_code == 404
    assert "/v3/nothing" in problem(answer)["message"]


def test_a_wrong_method_is_405_and_lists_those_of_every_route_of_the_path(client: Any) -> None:
    answer = client.request("PATCH", "/v1/things/a")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "DELETE, GET, HEAD"
    assert problem(answer)["code"] == "method_not_allowed"


def test_a_wrong_method_of_a_verb_is_405_and_names_the_verbs_own_methods(bench: Any) -> None:
    client = bench.client()
    for method in ("GET", "HEAD", "PATCH", "DELETE", "OPTIONS"):
        answer = client.request(method, "/v1/runs/20260101-120000-shapes-ab12:stop", json={})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST"), method


def test_head_is_answered_like_get_without_the_body(client: Any) -> None:
    for path, status in (("/livez", 200), ("/v1/things/a", 200), ("/v1/things/away", 503), ("/v1/nothing", 404)):
        got, headed = client.get(path), client.request("HEAD", path)
        assert (headed.status_code, headed.content) == (status, b"")
        assert headed.headers == got.headers, path
    assert 'code="200",method="GET",route="/v1/things/{name}"} 2.0' in client.get("/metrics").text


def test_a_body_announced_over_the_limit_is_413(client: Any) -> None:
    answer = client.post("/v1/things/a:take", content=b" " * 201, headers=JSON)
    assert answer.status_code == 413
    assert "200 bytes" in problem(answer)["message"]


def test_a_streamed_body_is_cut_off_at_the_limit(client: Any) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 100
            yield b" " * 100

    answer = client.post("/v1/things/a:take", content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert problem(answer)["code"] == "too_large"
    assert taken == 300


def test_a_request_to_classify_may_be_larger_than_others(client: Any) -> None:
    assert client.post("/v1/models/best:classify", content=b" " * 1_000).status_code == 404


def test_the_unexpected_is_logged_once_with_the_id_that_the_answer_names(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = client.get("/v1/things/mistake")
    assert answer.status_code == 500
    assert "42" not in answer.text
    # Of this request alone: a process that runs many tests may log what others left behind at any time.
    (record,) = [each for each in caplog.records if "/v1/things/mistake" in each.getMessage()]
    assert record.exc_info is not None
    assert str(record.args[0]) in problem(answer)["message"]  # type: ignore[index]


def test_an_error_worth_a_retry_says_when(client: Any) -> None:
    answer = client.get("/v1/things/away")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert problem(answer) == {"code": "unavailable", "message": "no model yet", "where": "model", "hint": "Wait"}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.SpecError, 422),
        (errors.ImageError, 422),
        (errors.DatasetMissingError, 409),
        (errors.CorruptRecordError, 500),
        (errors.NotFoundError, 404),
        (errors.UnavailableError, 503),
        (errors.DivergedError, 500),
    ],
)
def test_an_error_has_the_status_of_its_nearest_class_in_the_table(kind: type[errors.TandemError], status: int) -> None:
    assert status_of(kind("wrong")) == status


def test_requests_are_counted_by_template_never_by_path(client: Any, bench: Any) -> None:
    for name in "abc":
        client.get(f"/v1/things/{name}")
        client.get(f"/nowhere/{name}")
    count = "tandem_gateway_requests_total"
    labels = {"method": "GET", "route": "/v1/things/{name}", "code": "200"}
    assert bench.registry.get_sample_value(count, labels) == 3
    assert bench.registry.get_sample_value(count, {"method": "GET", "route": "unknown", "code": "404"}) == 3


@pytest.mark.parametrize(
    "spec",
    [
        rb'{"labels": {"a": "\ud800"}}',
        rb'{"dataset": {"kind": "npz", "path": "\udcff"}}',
        rb'{"model": {"options": {"\ud800": 1}}}',
    ],
)
@pytest.mark.parametrize("path", ["/v1/runs", "/v1/specs:check"])
def test_a_character_that_no_file_can_hold_is_refused_by_its_field(bench: Any, path: str, spec: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = bench.client().post(path, content=b'{"spec": ' + spec + b"}", headers=headers)
    assert answer.status_code == 422
    assert "surrogate" in answer.json()["error"]["message"]
    assert bench.runs.awake() == []


def test_a_disk_that_takes_nothing_is_not_now_and_no_mistake(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    answer = client.get("/v1/things/full")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert problem(answer) == {
        "code": "not_writable",
        "message": "it could not be written down: No space left on device",
        "where": "/volume/runs/a",
        "hint": "Make room there, or let the gateway write there, and ask again",
    }
    assert "No space left on device" in caplog.text


def test_another_error_of_the_system_is_a_mistake(client: Any) -> None:
    answer = client.get("/v1/things/gone")
    assert (answer.status_code, problem(answer)["code"]) == (500, "internal")
