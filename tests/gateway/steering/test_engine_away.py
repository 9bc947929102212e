"""While what runs trainers is away, requests that need it say so, and nothing changes its state."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from services.gateway.launchers.docker import DockerLauncher
from services.gateway.launchers.engine import Engine, connect
from shared.errors import UnavailableError
from tests.stack.fake_engine import CREATED, FakeEngine, exited

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


@pytest.fixture
def engine(bench: Any) -> Iterator[FakeEngine]:
    """An engine with one slot, which the bench's parts ask over HTTP."""
    fake = FakeEngine(containers={"shop-trainer-0": dict(CREATED)})
    fake.up()
    asked = Engine(connect=lambda: connect(fake.url, timeout=0.3), where=fake.url)
    bench.launcher = DockerLauncher(engine=asked, project="shop", clock=lambda: bench.now)
    bench.restart()
    yield fake
    asked.close()
    fake.down()


def goes_away(engine: FakeEngine, how: str) -> None:
    if how == "unreachable":
        engine.down()
    elif how == "slow":
        engine.wakes = threading.Event()
    else:
        engine.failure = (int(how), "context deadline exceeded")


def comes_back(engine: FakeEngine) -> None:
    if engine.wakes is not None:
        engine.wakes.set()
    engine.wakes = engine.failure = None
    if engine.is_down:
        engine.up()


@pytest.mark.parametrize("how", ["unreachable", "500", "503", "slow"])
def test_f31_while_the_engine_is_away_requests_are_503_and_every_state_stays(
    bench, engine: FakeEngine, how: str
) -> None:
    client = bench.client()
    run = client.post("/v1/runs", json={"recipe": "tiny"}).json()["id"]
    bench.step()
    bench.report(run, "running", slot="trainer-0")
    bench.step()
    seen = client.get(f"/v1/runs/{run}").json()
    assert (seen["state"], seen["slot"]) == ("running", "trainer-0")
    told, asked = bench.events(run), engine.requests.copy()

    goes_away(engine, how)
    for path in ("/v1/runs", f"/v1/runs/{run}:stop", f"/v1/runs/{run}:pause"):
        answer = client.post(path, json={"recipe": "tiny"} if path == "/v1/runs" else None)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable"), path
        assert int(answer.headers["Retry-After"]) > 0
    for _ in range(2):
        with pytest.raises(UnavailableError):
            bench.step(seconds=100)
    assert [each["id"] for each in client.get("/v1/runs").json()["runs"]] == [run]
    assert client.get(f"/v1/runs/{run}").json()["state"] == "running"
    assert bench.events(run) == told

    comes_back(engine)
    bench.step()
    assert client.get(f"/v1/runs/{run}").json()["state"] == "running"
    assert bench.events(run) == told
    assert not [line for line in engine.requests[len(asked) :] if "/start" in line or "/kill" in line]
    engine.containers["shop-trainer-0"] = exited(137)
    bench.step()
    assert client.get(f"/v1/runs/{run}").json()["state"] == "restarting", "it can be seen again"


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
