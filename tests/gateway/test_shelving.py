"""Runs that have settled are put away: lists show them all the same, and whatever happens to their files is noticed."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from services.gateway.index.index import ROUND, SLICE
from services.gateway.index.shelf import Shelf, Shelved
from services.gateway.shelving import maker
from services.gateway.steering.making import Key
from shared.errors import NotFoundError
from shared.records import Verdict, write_record


@pytest.fixture
def bench(bench: Any) -> Any:
    """A gateway that holds no settled run whole."""
    bench.awake = 0
    bench.restart()
    return bench


def finished(bench: Any, **changes: Any) -> str:
    """A run that has completed and was put away: another one has got its slot."""
    run = str(bench.start(**changes))
    bench.step()
    bench.finish(run)
    free(bench)
    assert shelved(bench) >= {run}
    return run


def free(bench: Any) -> None:
    bench.volume.slot("slot-0").assignment.unlink()
    bench.step()


def shelved(bench: Any) -> set[str]:
    return {each.id for each in bench.runs.listed()[1]}


def judge(bench: Any, run: str, step: int, precision: float) -> None:
    verdict = Verdict(run=run, step=step, weights="raw", decay=None, precision_at_1=precision, time=0.0)
    write_record(bench.folder(run).verdict(step, "raw"), verdict)


def rounds(bench: Any) -> None:
    """As many looks as it takes to look at everything once."""
    for _ in range(ROUND):
        bench.step()


def listed(bench: Any, query: str = "") -> list[Any]:
    answer: list[Any] = bench.client().get(f"/v1/runs{query}").json()["runs"]
    return answer


def test_a_run_is_listed_and_shown_as_before_once_it_is_put_away(bench: Any) -> None:
    run = bench.start(labels={"part": "1"})
    bench.step()
    judge(bench, run, 10, 0.5)
    bench.finish(run)
    before = listed(bench)
    assert shelved(bench) == set()
    free(bench)
    assert shelved(bench) == {run}
    assert bench.runs.awake() == []
    assert listed(bench) == before
    assert bench.client().get(f"/v1/runs/{run}").json() == before[0]
    for fits in ("?state=completed", "?label=part=1", "?label=part", "?name=tiny"):
        assert [each["id"] for each in listed(bench, fits)] == [run]
    for fits in ("?state=failed", "?label=part=2", "?label=other", "?name=other"):
        assert listed(bench, fits) == []


def test_showing_a_run_leaves_it_where_it_is(bench: Any) -> None:
    run = finished(bench)
    assert bench.index.get(run) is bench.index.get(run)
    assert shelved(bench) == {run}


def test_pages_go_through_runs_at_work_and_runs_put_away_in_one_order(bench: Any) -> None:
    made = [finished(bench), bench.start()]
    bench.control.stop(made[1])
    bench.control.restart(made[1])
    made += [finished_beside(bench), bench.start()]
    assert len(shelved(bench)) == 2
    found: list[str] = []
    cursor = ""
    while True:
        answer = bench.client().get(f"/v1/runs?limit=1{cursor}").json()
        found = [answer["runs"][0]["id"], *found]
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
    assert found == made


def finished_beside(bench: Any) -> str:
    """A run that is stopped before it began."""
    run = str(bench.start())
    bench.control.stop(run)
    bench.step()
    return run


def test_a_verdict_that_comes_later_is_seen_within_a_round_and_at_once_by_who_asks_for_the_run(bench: Any) -> None:
    first, second = finished(bench), finished(bench)
    judge(bench, first, 10, 0.5)
    judge(bench, second, 10, 0.6)
    assert bench.client().get(f"/v1/runs/{first}").json()["best"]["precision_at_1"] == 0.5
    rounds(bench)
    assert [each["best"]["precision_at_1"] for each in listed(bench)] == [0.5, 0.6]
    assert shelved(bench) == {first, second}


def test_a_verdict_that_comes_later_is_told_once(bench: Any) -> None:
    run = finished(bench)
    bench.follower.look()
    judge(bench, run, 10, 0.5)
    rounds(bench)
    for _ in range(2):
        bench.follower.look()
    judge(bench, run, 20, 0.6)
    bench.restart()
    bench.step()
    for _ in range(2):
        bench.follower.look()
    told = [change for _, change in bench.feed.changes()]
    assert [each.data["step"] for each in told if each.kind == "evaluation"] == [10, 20]
    assert [each.data["to"] for each in told if each.kind == "state"] == bench.states(run)
    assert [each for each in told if each.kind == "removed"] == []


def test_a_run_put_away_before_anybody_told_of_it_is_told_of(bench: Any) -> None:
    bench.follower.look()  # so there is a feed
    other = bench.start()
    bench.step()
    bench.follower.look()
    bench.finish(other)
    free(bench)
    assert shelved(bench) == {other}
    bench.follower.look()
    told = [change.data["to"] for _, change in bench.feed.changes() if change.kind == "state"]
    assert told == bench.states(other)


def test_a_run_removed_by_hand_is_gone_from_lists_and_told_of(bench: Any) -> None:
    run = finished(bench)
    bench.follower.look()
    shutil.rmtree(bench.folder(run).root)
    bench.step()
    bench.follower.look()
    assert listed(bench) == []
    with pytest.raises(NotFoundError):
        bench.runs.show(run)
    assert [change.run for _, change in bench.feed.changes() if change.kind == "removed"] == [run]


def test_a_run_whose_specification_alone_was_removed_is_gone_within_a_round(bench: Any) -> None:
    run = finished(bench)
    bench.folder(run).spec.unlink()
    rounds(bench)
    assert listed(bench) == []


def test_a_run_copied_onto_the_volume_is_listed_at_the_next_look(bench: Any) -> None:
    run = finished(bench)
    copy = bench.folder("20200101-000000-copied-0001")
    shutil.copytree(bench.folder(run).root, bench.volume.root / "elsewhere")
    (bench.volume.root / "elsewhere").rename(copy.root)
    bench.step()
    assert [each["id"] for each in listed(bench)] == [copy.id, run]
    assert shelved(bench) == {copy.id, run}


def test_what_is_asked_of_a_run_that_was_put_away_happens(bench: Any) -> None:
    run = finished(bench)
    bench.control.tag(run, priority=None, labels={"kept": "yes"})
    assert [each["id"] for each in listed(bench, "?label=kept")] == [run]
    bench.control.resume(run, steps=200)
    assert bench.runs.show(run).state.state == "queued"
    bench.step()
    assert bench.assignment().run == run
    assert bench.runs.show(run).state.state == "starting"
    assert [each["id"] for each in listed(bench)] == [run]


def test_a_run_that_was_put_away_is_deleted_for_good(bench: Any) -> None:
    run = finished(bench)
    bench.control.delete(run)
    assert listed(bench) == []
    bench.restart()
    bench.step()
    assert listed(bench) == []


def test_many_runs_that_were_put_away_are_asked_by_filter(bench: Any) -> None:
    first, second = finished(bench), finished(bench)
    answer = bench.client().post("/v1/runs:delete", json={"filter": {"state": ["completed"]}}).json()
    assert [(each["run"], each["status"]) for each in answer["results"]] == [(first, 204), (second, 204)]


def test_a_key_is_known_although_its_run_was_put_away(bench: Any) -> None:
    key = Key(text="once", body_sha256="0")
    run = bench.starter.start(recipe="tiny", changes={}, key=key).run.id
    bench.control.stop(run)
    bench.step()
    assert shelved(bench) == {run}
    assert bench.starter.start(recipe="tiny", changes={}, key=key).run.id == run


def test_states_are_counted_wherever_a_run_is(bench: Any) -> None:
    finished(bench)
    bench.start()
    bench.step()
    assert bench.registry.get_sample_value("tandem_runs", {"state": "completed"}) == 1
    assert bench.registry.get_sample_value("tandem_runs", {"state": "starting"}) == 1


def test_the_next_gateway_reads_no_run_anew_that_was_put_away(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished(bench)
    before = listed(bench)
    bench.restart()
    monkeypatch.setattr(bench.index, "_look", None)
    bench.step()
    assert bench.runs.unread == 0
    assert shelved(bench) == {run}
    assert listed(bench) == before


def test_what_happened_while_no_gateway_was_there_is_seen_when_it_begins(bench: Any) -> None:
    first, second, third = finished(bench), finished(bench), finished(bench)
    judge(bench, second, 10, 0.6)
    shutil.rmtree(bench.folder(third).root)
    bench.restart()
    bench.step()
    assert [each["id"] for each in listed(bench)] == [first, second]
    assert listed(bench)[1]["best"]["precision_at_1"] == 0.6


@pytest.mark.parametrize("spoil", [b"", b"{}\n", b'{"maker": "another"}\n', None])
def test_a_file_of_another_maker_or_none_at_all_costs_reading_and_nothing_else(bench: Any, spoil: bytes | None) -> None:
    run = finished(bench)
    before = listed(bench)
    path: Path = bench.volume.gateway / "settled.jsonl"
    if spoil is None:
        path.unlink()
    else:
        path.write_bytes(spoil + b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    bench.restart()
    bench.step()
    assert listed(bench) == before
    bench.step()
    assert shelved(bench) == {run}
    assert json.loads(path.read_bytes().splitlines()[0]) == {"maker": "test"}


def test_a_torn_line_is_passed_over(bench: Any) -> None:
    run = finished(bench)
    before = listed(bench)
    path: Path = bench.volume.gateway / "settled.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    bench.restart()
    bench.step()
    assert listed(bench) == before
    bench.step()
    assert shelved(bench) == {run}


def test_a_shelf_that_cannot_be_written_to_serves_all_the_same(bench: Any) -> None:
    (bench.volume.gateway / "settled.jsonl").mkdir(parents=True)
    run = finished(bench)
    assert [each["id"] for each in listed(bench)] == [run]


def test_old_lines_are_cleared_away(tmp_path: Path) -> None:
    path = tmp_path / "settled.jsonl"
    shelf = Shelf(path=path, maker="test")
    for number in range(300):
        shelf.put(entry("a", mark=str(number)))
    Shelf(path=path, maker="test").load({"a"})
    assert len(path.read_bytes().splitlines()) == 2
    found = Shelf(path=path, maker="test")
    found.load({"a", "b"})
    assert found.get("a") == entry("a", mark="299")


def entry(run: str, *, mark: str = "m", created: float = 0.0) -> Shelved:
    return Shelved(
        id=run,
        created=created,
        name="tiny",
        state_name="completed",
        labels={"tab": "a\tb"},
        key=None,
        mark=mark,
        journal=7,
        judged=frozenset({(10, "raw")}),
        view=b'{"id":"' + run.encode() + b'"}',
    )


def test_another_price_or_another_shape_of_views_is_another_maker() -> None:
    assert maker(None) == maker(None) != maker(1.0)


def test_ten_thousand_runs_that_were_put_away_are_listed_and_filtered_in_milliseconds(bench: Any) -> None:
    for number in range(10_000):
        bench.shelf.put(entry(f"20200101-000000-old-{number:05}", created=number))
    client = bench.client()
    bench.index._loaded = True
    for query, count in (("", 50), ("?state=completed&label=tab", 50), ("?state=failed", 0), ("?label=tab=none", 0)):
        took = []
        for _ in range(5):  # processor time, and the best of five: the machine may be busy with something else
            before = time.process_time()
            assert len(client.get(f"/v1/runs{query}").json()["runs"]) == count
            took.append(time.process_time() - before)
        assert min(took) < 0.05


def test_a_round_looks_at_every_run_even_if_there_are_few(bench: Any) -> None:
    assert SLICE > 1
    runs = [finished(bench) for _ in range(3)]
    for run in runs:
        judge(bench, run, 10, 0.5)
    bench.step()
    bench.step()
    assert [each["best"]["precision_at_1"] for each in listed(bench)] == [0.5] * 3
