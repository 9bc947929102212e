"""Moving aliases by hand: where they may go, what they are tried out with, and why not."""

import hashlib
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI

from services.gateway import errors
from services.gateway.predict.aliases import BEST, LATEST
from shared.records import FileRecord
from tests.gateway.conftest import Client
from tests.gateway.predict.asking import A, asked, points


@pytest.fixture
def client(serving: Any) -> Client:
    """Asks for something about aliases while the predictor's thread runs."""
    serving.predictor.start()
    app = FastAPI()
    errors.install(app)
    for router in serving.routers():
        app.include_router(router)
    return Client(app)


def test_an_alias_of_ones_own_is_moved_listed_and_removed(client: Client, serving: Any) -> None:
    answer = client.request("PUT", f"/v1/models/{A}/aliases/stable", json={"step": 10, "reason": "looks right"})
    assert answer.status_code == 200
    assert (answer.json()["step"], answer.json()["reason"], answer.json()["moves"]) == (10, "looks right", "by hand")
    assert client.request("PUT", f"/v1/models/{A}/aliases/stable", json={"step": 20}).json()["history"][0]["step"] == 10
    listed = client.get(f"/v1/models/{A}/aliases").json()
    assert {each["alias"]: each["step"] for each in listed["aliases"]} == {"best": 20, "latest": 30, "stable": 20}
    assert client.get("/v1/models/stable").json()["step"] == 20
    assert client.request("DELETE", f"/v1/models/{A}/aliases/stable").status_code == 204
    assert client.get("/v1/models/stable").status_code == 404
    assert client.request("DELETE", f"/v1/models/{A}/aliases/stable").status_code == 404


def test_best_that_was_put_somewhere_stays_until_it_is_freed(client: Client, models: Any, serving: Any) -> None:
    put = f"/v1/models/{A}/aliases/best"
    assert client.request("PUT", put, json={"step": 10}).json()["pinned"]
    models.export(A, 40, precision=0.9)
    serving.predictor.stop()
    serving.predictor.refresh()
    assert points(serving) == {BEST: 10, LATEST: 40}
    assert asked(serving, A) == {10: 1}


def test_a_freed_alias_moves_on(client: Client, models: Any, serving: Any) -> None:
    put = f"/v1/models/{A}/aliases/best"
    client.request("PUT", put, json={"step": 10})
    assert not client.request("PUT", put, json={"pinned": False}).json()["pinned"]
    serving.predictor.stop()
    serving.predictor.refresh()
    assert points(serving)[BEST] == 20


def test_rolling_back_goes_to_where_it_was_and_best_stays_there(client: Client, models: Any, serving: Any) -> None:
    models.export(A, 40, precision=0.9)
    while client.get("/v1/models/best").json()["step"] != 40:
        pass
    back = client.post(f"/v1/models/{A}/aliases/best:rollback", json={"reason": "cats look like dogs"}).json()
    assert (back["step"], back["pinned"], back["reason"]) == (20, True, "cats look like dogs")
    assert client.get("/v1/models/best").json()["step"] == 20
    refused = client.post(f"/v1/models/{A}/aliases/best:rollback")
    assert refused.status_code == 409
    assert "anywhere else" in refused.json()["error"]["message"]


def test_a_canary_answers_its_share_and_equal_requests_alike(client: Client, serving: Any) -> None:
    put = f"/v1/models/{A}/aliases/best/canary"
    assert client.request("PUT", put, json={"step": 30, "share": 0.25}).json()["canary"] == {"step": 30, "share": 0.25}
    serving.predictor.stop()
    counted = asked(serving, A, 200)
    assert counted[20] + counted[30] == 200
    assert 47 <= counted[30] <= 53
    by_token = {token: asked(serving, A, 3, token=f"request-{token}") for token in range(200)}
    assert all(len(steps) == 1 for steps in by_token.values())
    assert 30 <= sum(30 in steps for steps in by_token.values()) <= 70
    assert asked(serving, f"{A}@10") == {10: 1}
    assert asked(serving, "latest", 20) == {30: 20}


def test_a_canary_ends_when_it_is_told_to_or_its_alias_moves(client: Client, serving: Any) -> None:
    put = f"/v1/models/{A}/aliases/best/canary"
    client.request("PUT", put, json={"step": 30, "share": 0.5})
    assert client.request("DELETE", put).json()["canary"] is None
    client.request("PUT", put, json={"step": 30, "share": 0.5})
    moved = client.request("PUT", f"/v1/models/{A}/aliases/best", json={"step": 30}).json()
    assert (moved["step"], moved["canary"]) == (30, None)


@pytest.mark.parametrize(
    ("call", "body", "status", "message"),
    [
        ("PUT aliases/stable", {"step": 15}, 404, "there is no export of step 15"),
        ("PUT aliases/stable", {"pinned": True}, 404, "there is no alias stable"),
        ("PUT aliases/stable", {"step": True}, 422, "body.step: Input should be a valid integer"),
        ("PUT aliases/best/canary", {"step": "10", "share": 0.5}, 422, "body.step: Input should be a valid integer"),
        ("PUT aliases/stable", {}, 422, "neither step nor pinned"),
        ("PUT aliases/Not One", {"step": 10}, 422, "is not an alias"),
        ("PUT aliases/stable/canary", {"step": 10, "share": 0.5}, 404, "there is no alias stable"),
        ("PUT aliases/best/canary", {"step": 20, "share": 0.5}, 409, "best points at step 20 already"),
        ("PUT aliases/best/canary", {"step": 10, "share": 1.0}, 422, "share"),
        ("POST aliases/latest:rollback", None, 409, "latest has not been anywhere else"),
    ],
)
def test_what_cannot_be_done_says_why(client: Client, call: str, body: Any, status: int, message: str) -> None:
    method, _, path = call.partition(" ")
    answer = client.request(method, f"/v1/models/{A}/{path}", json=body)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("alias", ["stable", "best"])
def test_f50_an_alias_is_not_moved_to_an_export_with_a_flipped_bit_and_the_file_is_named(
    client: Client, models: Any, serving: Any, make_model: Any, alias: str
) -> None:
    before = points(serving)
    whole = make_model(bias=np.ones(10))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    files = {"model.onnx": FileRecord(size=len(whole), sha256=hashlib.sha256(whole).hexdigest())}
    folder = models.export(A, 40, precision=0.1, data=bytes(flipped), manifest={"files": files})
    while 40 not in client.get(f"/v1/models/{A}").json()["steps"]:
        pass
    answer = client.request("PUT", f"/v1/models/{A}/aliases/{alias}", json={"step": 40})
    assert answer.status_code == 503
    assert str(folder / "model.onnx") in answer.json()["error"]["message"]
    assert points(serving) == before
