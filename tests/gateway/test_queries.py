"""No query parameter is passed over in silence."""

from typing import Any


def test_a_parameter_that_a_route_does_not_know_is_refused_by_name(bench: Any) -> None:
    answer = bench.client().get("/v1/runs?colour=red")
    assert answer.status_code == 422
    assert "'colour'" in answer.json()["error"]["message"]
    assert "cursor, label, limit, name, state" in answer.json()["error"]["hint"]
    assert "takes none" in bench.client().get("/v1/slots?colour=red").json()["error"]["hint"]


def test_one_that_is_one_value_is_taken_once_and_one_that_is_several_may_be_repeated(bench: Any) -> None:
    client = bench.client()
    answer = client.get("/v1/runs?name=a&name=b")
    assert (answer.status_code, answer.json()["error"]["where"]) == (422, "name")
    assert client.get("/v1/runs?label=a&label=b=c&state=running&state=queued").status_code == 200


def test_it_is_so_for_a_run_and_for_streams_too(bench: Any) -> None:
    run = bench.start()
    client = bench.client()
    for path in (f"/v1/runs/{run}/logs?tail=1&tail=2", f"/v1/runs/{run}/stream?kinds=log&kinds=state"):
        assert client.get(path).status_code == 422, path
