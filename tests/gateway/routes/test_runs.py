from typing import Any

import pytest

from shared.errors import DatasetMissingError

KEYS = {
    *("id", "name", "labels", "state", "reason", "created", "spec", "slot", "step", "steps", "progress", "loss"),
    *("average_loss", "learning_rate", "examples_per_second", "eta_seconds", "checkpoint_step", "best", "latest"),
    *("failure", "allowed", "priority", "position", "restarts", "forked_from", "wall_seconds", "cost", "sharing"),
    "numerics",
}


def problem(answer: Any, status: int) -> Any:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert list(error) == ["code", "message", "where", "hint"]
    return error


def runs_on(bench: Any) -> list[str]:
    return [path.name for path in bench.volume.runs.iterdir()] if bench.volume.runs.exists() else []


def test_a_run_is_made_of_a_recipe_and_changes(bench: Any) -> None:
    answer = bench.client().post("/v1/runs", json={"recipe": "tiny", "spec": {"steps": 7, "labels": {"who": "me"}}})
    assert answer.status_code == 201
    view = answer.json()
    assert set(view) == KEYS
    assert answer.headers["location"] == f"/v1/runs/{view['id']}"
    assert (view["name"], view["steps"], view["state"], view["labels"]) == ("tiny", 7, "queued", {"who": "me"})
    assert view["spec"]["dataset"]["kind"] == "shapes"
    assert bench.client().get(answer.headers["location"]).json() == view


def test_an_empty_body_makes_a_run_of_the_defaults(bench: Any) -> None:
    assert bench.client().post("/v1/runs", json={}).json()["steps"] == 1_000_000


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"steps": -1}, "spec: steps"),
        ({"colour": "red"}, "spec: colour"),
        ({"augment": {"crop": "wide"}}, "spec: augment.crop"),
        ({"name": "../x"}, "spec: name"),
    ],
)
def test_a_wrong_specification_is_refused_by_its_field_and_leaves_nothing(
    bench: Any, changes: dict[str, Any], where: str
) -> None:
    error = problem(bench.client().post("/v1/runs", json={"recipe": "tiny", "spec": changes}), 422)
    assert (error["code"], error["where"]) == ("bad_spec", where)
    assert runs_on(bench) == []


def test_an_unknown_recipe_is_refused_with_those_that_there_are(bench: Any) -> None:
    error = problem(bench.client().post("/v1/runs", json={"recipe": "../tiny"}), 404)
    assert error["where"] == "recipe"
    assert "tiny" in error["hint"]
    assert runs_on(bench) == []


def test_a_broken_recipe_is_named(bench: Any) -> None:
    error = problem(bench.client().post("/v1/runs", json={"recipe": "broken"}), 422)
    assert error["where"].endswith("broken.yaml")


def test_a_data_set_that_is_not_at_hand_is_refused_and_leaves_nothing(bench: Any) -> None:
    bench.missing = DatasetMissingError("is not there", where="spec.dataset", hint="Unpack it")
    error = problem(bench.client().post("/v1/runs", json={"recipe": "tiny"}), 409)
    assert (error["code"], error["hint"]) == ("dataset_missing", "Unpack it")
    assert runs_on(bench) == []


def test_an_unknown_key_beside_recipe_and_spec_is_refused(bench: Any) -> None:
    error = problem(bench.client().post("/v1/runs", json={"recipe": "tiny", "steps": 5}), 422)
    assert error["where"] == "body.steps"


def test_ids_of_runs_of_one_second_differ(bench: Any) -> None:
    made = {bench.client().post("/v1/runs", json={"recipe": "tiny"}).json()["id"] for _ in range(5)}
    assert len(made) == 5
    assert all(each.startswith("20260301-101500-tiny-") for each in made)


def test_runs_are_listed_oldest_first_by_state_and_limit(bench: Any) -> None:
    first, second, third = (bench.start() for _ in range(3))
    bench.step()
    client = bench.client()

    def listed(query: str) -> list[str]:
        return [each["id"] for each in client.get(f"/v1/runs{query}").json()["runs"]]

    assert listed("") == [first, second, third]
    assert listed("?state=queued") == [second, third]
    assert listed("?state=queued&state=starting&limit=2") == [second, third]
    assert listed("?limit=1") == [third]
    assert problem(client.get("/v1/runs?state=asleep"), 422)["where"] == "state"


def test_a_listed_run_is_the_same_as_a_shown_one_as_it_goes_on(bench: Any) -> None:
    run, client = bench.start(), bench.client()
    for phase in ("starting", "running", "completed"):
        bench.step()
        bench.report(run, phase)
        bench.index.refresh(lambda _: True)
        assert client.get("/v1/runs").json()["runs"] == [client.get(f"/v1/runs/{run}").json()]


def test_a_run_that_cannot_be_read_is_listed_as_a_problem(bench: Any) -> None:
    run = bench.start()
    bench.folder(run).desired.write_text("{")
    bench.step()
    answer = bench.client().get("/v1/runs").json()
    assert answer["runs"] == []
    assert [(each["run"], each["code"]) for each in answer["problems"]] == [(run, "corrupt_record")]
    assert problem(bench.client().get(f"/v1/runs/{run}"), 500)["where"] == str(bench.folder(run).desired)


def test_an_unknown_run_is_404_and_a_bad_id_is_named(bench: Any) -> None:
    assert problem(bench.client().get("/v1/runs/nothing"), 404)["where"] == "run"
    assert "'X!' is not a run's id" in problem(bench.client().get("/v1/runs/X!"), 422)["message"]
    assert problem(bench.client().get("/v1/runs/..%2F..%2Fetc"), 404)


def test_a_run_is_stopped_and_stopping_it_again_changes_nothing(bench: Any) -> None:
    run, client = bench.start(), bench.client()
    bench.step()
    answer = client.post(f"/v1/runs/{run}:stop")
    assert (answer.status_code, answer.json()["state"]) == (202, "stopping")
    written = bench.folder(run).desired.read_bytes()
    assert client.post(f"/v1/runs/{run}:stop").json()["state"] == "stopping"
    assert bench.folder(run).desired.read_bytes() == written


def test_a_queued_run_is_stopped_at_once(bench: Any) -> None:
    run = bench.start()
    assert bench.client().post(f"/v1/runs/{run}:stop").json()["state"] == "stopped"


def test_a_finished_run_cannot_be_stopped(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "completed", step=100)
    error = problem(bench.client().post(f"/v1/runs/{run}:stop"), 409)
    assert error["message"] == f"run {run} has completed and cannot be stopped"


def test_a_wrong_method_on_a_run_says_which_there_are(bench: Any) -> None:
    answer = bench.client().request("DELETE", "/v1/runs")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")


def test_an_unknown_query_parameter_is_refused(bench: Any) -> None:
    error = problem(bench.client().get("/v1/runs?stat=queued"), 422)
    assert (error["where"], error["hint"]) == ("query", "This route takes cursor, label, limit, name, state")


def test_every_transition_has_a_route_that_answers_with_the_run(bench: Any) -> None:
    run, client = bench.start(), bench.client()
    for path, body, state in (
        ("pause", {"kind": "hold", "reason": "wait"}, "paused"),
        ("resume", {"steps": 150}, "queued"),
        ("kill", None, "stopped"),
        ("restart", {"reason": "again"}, "queued"),
        ("stop", None, "stopped"),
    ):
        answer = client.post(f"/v1/runs/{run}:{path}", json=body) if body else client.post(f"/v1/runs/{run}:{path}")
        assert (answer.status_code, answer.json()["state"]) == (202, state)
    view = client.request("PATCH", f"/v1/runs/{run}", json={"priority": 3, "labels": {"a": "b"}}).json()
    assert (view["priority"], view["labels"], view["steps"], view["allowed"]) == (
        3,
        {"a": "b"},
        150,
        ["restart", "delete"],
    )
    assert client.request("DELETE", f"/v1/runs/{run}").status_code == 204
    assert problem(client.get(f"/v1/runs/{run}"), 404)


def test_a_refused_transition_names_what_is_allowed(bench: Any) -> None:
    run, client = bench.start(), bench.client()
    error = problem(client.request("DELETE", f"/v1/runs/{run}"), 409)
    assert error["message"] == f"run {run} is queued and cannot be deleted"
    assert error["hint"] == "waits for a free slot. Allowed now: pause, extend, stop, kill"


@pytest.mark.parametrize("body", [{"kind": "doze"}, {"steps": 0}, {"colour": "red"}])
def test_a_transition_with_a_wrong_body_is_refused_by_its_field(bench: Any, body: dict[str, Any]) -> None:
    path = "pause" if "kind" in body else "resume"
    error = problem(bench.client().post(f"/v1/runs/{bench.start()}:{path}", json=body), 422)
    assert error["where"] == f"body.{next(iter(body))}"


def test_a_run_tells_what_its_trainer_computes_with_once_it_has_said_so(bench: Any) -> None:
    run = bench.start()
    client = bench.client()
    assert client.get(f"/v1/runs/{run}").json()["numerics"] is None
    bench.step()
    numerics = {"device": "cpu", "precision": "mixed_bfloat16", "xla": "false", "onednn": "1", "intra_op_threads": "2"}
    bench.report(run, "running", numerics=numerics)
    bench.step()
    assert client.get(f"/v1/runs/{run}").json()["numerics"] == numerics
