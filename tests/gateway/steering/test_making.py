"""Runs that are made of a recipe or of another run's checkpoint, once for each key."""

import os
from typing import Any

import numpy as np
import pytest

from services.gateway.steering.making import Key
from shared import atomic
from shared.checkpoints import CheckpointStore, initial_checkpoint
from shared.errors import ConflictError, CorruptCheckpointError, NotFoundError, SpecError
from shared.records import Origin, read_record
from shared.spec import RunSpec


def commit(bench: Any, run: str, step: int) -> None:
    arrays = {"kernel": np.full(3, step, np.float32)}
    groups = {"raw": arrays, "ema-0.9999": arrays, "optimizer": {}}
    CheckpointStore(bench.folder(run)).commit(step=step, fence=1, spec_sha256="0" * 64, groups=groups, time=0.0)


def parent(bench: Any, *steps: int) -> str:
    run = bench.start()
    for step in steps or (10, 20):
        commit(bench, run, step)
    return str(run)


def fork(bench: Any, run: str, **values: Any) -> Any:
    bench.epoch += 1
    return bench.starter.fork(run, **{"step": None, "recipe": None, "changes": {}, **values})


def test_a_fork_begins_with_the_newest_checkpoint_and_the_parents_settings(bench: Any) -> None:
    run = parent(bench)
    made = fork(bench, run, changes={"seed": 7}).run
    assert made.origin.parent.step == 20
    assert made.origin.parent.run == run
    assert made.spec == RunSpec(**{**bench.runs.show(run).run.spec.model_dump(), "seed": 7})
    loaded = initial_checkpoint(made.folder)
    assert loaded.load("raw")["kernel"].tolist() == [20, 20, 20]


def test_a_fork_takes_the_step_that_it_is_told(bench: Any) -> None:
    assert fork(bench, parent(bench), step=10).run.origin.parent.step == 10


def test_a_fork_outlives_the_removal_of_its_parent(bench: Any) -> None:
    run = parent(bench)
    made = fork(bench, run).run
    atomic.remove_folder(bench.folder(run).root)
    initial_checkpoint(made.folder).verify()


def test_a_fork_on_a_file_system_without_hard_links_has_copies(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = parent(bench)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    made = fork(bench, run).run
    initial_checkpoint(made.folder).verify()
    assert (made.folder.initial / "raw.safetensors").stat().st_nlink == 1


def test_a_fork_of_an_extended_run_is_as_long_as_that(bench: Any) -> None:
    run = parent(bench)
    bench.control.resume(run, steps=150)
    assert fork(bench, run).run.steps == 150


def test_a_fork_shows_where_it_came_from_and_how_far_it_is(bench: Any) -> None:
    run = parent(bench)
    view = bench.client().post(f"/v1/runs/{run}:fork", json={"step": 10, "spec": {"name": "other"}}).json()
    assert (view["forked_from"], view["step"], view["name"]) == ({"run": run, "step": 10}, 10, "other")
    assert view["state"] == "queued"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"step": 15}, "no checkpoint at step 15"),
        ({"changes": {"steps": 20}}, "begins at step 20, and is to make only 20"),
        ({"changes": {"model": {"name": "resnet"}}}, "another network"),
        ({"changes": {"colour": "red"}}, "colour: unknown key"),
        ({"recipe": "nothing"}, "nothing"),
    ],
)
def test_a_fork_that_cannot_be_is_refused_and_leaves_nothing(bench: Any, values: Any, problem: str) -> None:
    run = parent(bench)
    with pytest.raises((SpecError, NotFoundError), match=problem):
        fork(bench, run, **values)
    assert [path.name for path in bench.volume.runs.iterdir()] == [run]


def test_a_run_without_a_checkpoint_is_not_forked(bench: Any) -> None:
    with pytest.raises(ConflictError, match="cannot be forked"):
        fork(bench, bench.start())


def test_a_checkpoint_that_is_removed_while_it_is_forked_leaves_nothing(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = parent(bench)
    real = os.link

    def link(source: Any, target: Any) -> None:
        if "raw" in str(source):
            CheckpointStore(bench.folder(run)).remove(20)
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(NotFoundError, match="removed in this moment"):
        fork(bench, run)
    assert [path.name for path in bench.volume.runs.iterdir()] == [run]


def test_an_initial_checkpoint_of_another_run_is_not_taken(bench: Any) -> None:
    made = fork(bench, parent(bench)).run
    (made.folder.initial / "manifest.json").write_text("{}")
    with pytest.raises(CorruptCheckpointError, match=r"origin\.json names"):
        initial_checkpoint(made.folder)


def test_f33_a_request_that_is_sent_twice_makes_one_run(bench: Any) -> None:
    client, headers = bench.client(), {"Idempotency-Key": "k-1"}
    body = {"recipe": "tiny", "spec": {"seed": 3}}
    first = client.post("/v1/runs", json=body, headers=headers)
    assert client.post("/v1/runs", json=body, headers=headers).json() == first.json()
    bench.restart()
    again = bench.client().post("/v1/runs", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert len(list(bench.volume.runs.iterdir())) == 1


def test_a_key_is_refused_for_something_else(bench: Any) -> None:
    client, headers = bench.client(), {"Idempotency-Key": "k-1"}
    run = client.post("/v1/runs", json={"recipe": "tiny"}, headers=headers).json()["id"]
    for path, body in (("/v1/runs", {"recipe": "tiny", "spec": {"seed": 3}}), (f"/v1/runs/{run}:fork", {})):
        error = client.post(path, json=body, headers=headers)
        assert error.status_code == 409
        assert error.json()["error"]["where"] == "Idempotency-Key"
        assert run in error.json()["error"]["message"]


def test_a_fork_has_its_key_too(bench: Any) -> None:
    run, headers = parent(bench), {"Idempotency-Key": "k-2"}
    made = [bench.client().post(f"/v1/runs/{run}:fork", json={}, headers=headers).json()["id"] for _ in range(2)]
    assert made[0] == made[1]


def test_a_key_stands_for_what_was_asked_in_whatever_order() -> None:
    assert Key.of("k", {"a": 1, "b": 2}) == Key.of("k", {"b": 2, "a": 1})
    assert Key.of("k", {"a": 1}) != Key.of("k", {"a": 2})
    assert Key.of(None, {"a": 1}) is None


def test_how_a_run_came_to_be_is_on_the_volume(bench: Any) -> None:
    origin = read_record(bench.folder(bench.start()).origin, Origin)
    assert (origin.recipe, origin.parent, origin.key) == ("tiny", None, None)


def test_a_priority_is_there_from_the_first_moment(bench: Any) -> None:
    view = bench.client().post("/v1/runs", json={"recipe": "tiny", "priority": 4}).json()
    assert view["priority"] == 4


def test_a_limit_on_cost_needs_a_price(bench: Any) -> None:
    bench.start(until={"cost": 5})
    bench.starter._price = None
    with pytest.raises(SpecError, match="knows no price"):
        bench.start(until={"cost": 5})
