"""While what runs trainers is away, requests that need it say so, and nothing changes its state."""

import pytest

from shared.errors import UnavailableError

AWAY = UnavailableError("the Docker engine does not answer", where="tcp://docker-proxy:2375")


def test_f31_a_run_that_is_asked_for_is_not_made(bench) -> None:
    client = bench.client()
    bench.launcher.away = AWAY
    answer = client.post("/v1/runs", json={"recipe": "tiny"})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["error"]["code"] == "unavailable"
    assert client.get("/v1/runs").json()["runs"] == []


def test_f31_a_stop_that_is_asked_for_changes_nothing_until_it_is_back(bench) -> None:
    client = bench.client()
    run = client.post("/v1/runs", json={"recipe": "tiny"}).json()["id"]
    bench.step()
    before = client.get(f"/v1/runs/{run}").json()["state"]
    bench.launcher.away = AWAY
    assert client.post(f"/v1/runs/{run}:stop").status_code == 503
    assert client.get(f"/v1/runs/{run}").json()["state"] == before
    bench.launcher.away = None
    assert client.post(f"/v1/runs/{run}:stop").status_code == 202


def test_f31_a_trainer_that_cannot_be_seen_is_not_taken_for_dead(bench) -> None:
    client = bench.client()
    run = client.post("/v1/runs", json={"recipe": "tiny"}).json()["id"]
    bench.step()
    before = client.get(f"/v1/runs/{run}").json()["state"]
    bench.launcher.away = AWAY
    with pytest.raises(UnavailableError):
        bench.step()
    assert client.get(f"/v1/runs/{run}").json()["state"] == before
    bench.launcher.away = None
    bench.step()
    assert client.get(f"/v1/runs/{run}").json()["state"] == before
    assert bench.launcher.started == ["slot-0"]


def test_f47_a_run_whose_trainer_ended_with_the_engine_goes_on_once_the_engine_is_back(bench) -> None:
    client = bench.client()
    run = client.post("/v1/runs", json={"recipe": "tiny"}).json()["id"]
    bench.step()
    bench.report(run, "running", step=10)
    bench.launcher.away = AWAY
    bench.launcher.die("slot-0", -127)
    for _ in range(5):
        with pytest.raises(UnavailableError):
            bench.step(seconds=10)
    assert client.get(f"/v1/runs/{run}").json()["state"] == "running"
    bench.launcher.away = None
    for _ in range(3):
        bench.step(seconds=10)
    assert bench.launcher.started == ["slot-0", "slot-0"]
    assert bench.fence() == 2


def test_an_engine_that_goes_away_between_the_look_and_the_start_counts_as_no_death(bench) -> None:
    client = bench.client()
    bench.launcher.trouble = AWAY
    run = client.post("/v1/runs", json={"recipe": "tiny"}).json()["id"]
    for _ in range(10):
        bench.step()
    assert client.get(f"/v1/runs/{run}").json()["state"] == "starting"
    bench.launcher.trouble = None
    bench.step()
    assert bench.launcher.started == ["slot-0"]


def test_f21_a_death_for_want_of_memory_is_told_as_one_and_not_tried_blindly(bench) -> None:
    client = bench.client()
    run = client.post("/v1/runs", json={"recipe": "tiny"}).json()["id"]
    bench.step()
    bench.launcher.out_of_memory.add("slot-0")
    bench.launcher.die("slot-0", -9)
    bench.step()
    view = client.get(f"/v1/runs/{run}").json()
    assert view["state"] == "failed"
    assert "more memory than it may; another one would need as much; a batch_size less than 128" in view["reason"]
