"""What happened to runs gets into the feed, once each, whoever was there when it did."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from services.gateway.streams import feed as feeds
from services.gateway.streams.feed import Change, Feed
from shared.records import Verdict, write_record


def judge(bench: Any, run: str, step: int, precision: float, weights: str = "ema") -> None:
    decay = 0.9999 if weights == "ema" else None
    verdict = Verdict(run=run, step=step, weights=weights, decay=decay, precision_at_1=precision, time=step)
    path = bench.folder(run).verdict(step, "raw" if decay is None else f"ema-{decay}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(path, verdict)


def told(bench: Any, kind: str) -> list[Change]:
    return [change for _, change in bench.feed.changes() if change.kind == kind]


def transitions(bench: Any) -> list[tuple[Any, Any]]:
    return [(change.data["from"], change.data["to"]) for change in told(bench, "state")]


def test_every_change_of_state_is_told_even_those_between_two_looks(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "running")
    bench.step()
    bench.follower.look()
    bench.follower.look()
    assert transitions(bench) == [(None, "starting"), ("starting", "running")]
    assert told(bench, "state")[-1].data["reason"] == bench.reason(run)


def test_the_next_gateway_tells_what_nobody_told_and_nothing_twice(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.follower.look()
    judge(bench, run, 10, 0.5)
    bench.report(run, "running")
    bench.restart()
    bench.step()
    bench.follower.look()
    bench.restart()
    bench.step()
    bench.follower.look()
    assert bench.states(run) == [to for _, to in transitions(bench)]
    assert [change.data["step"] for change in told(bench, "evaluation")] == [10]


def test_a_better_verdict_is_told_as_the_new_best_and_an_equal_one_is_not(bench: Any) -> None:
    run = bench.start()
    for step, precision in [(10, 0.5), (20, 0.5), (30, 0.7), (40, 0.6)]:
        judge(bench, run, step, precision)
        bench.step()
        bench.follower.look()
    assert [(each.data["step"], each.data["previous_best"]) for each in told(bench, "best")] == [(10, None), (30, 0.5)]
    assert [each.data["previous_best"] for each in told(bench, "evaluation")] == [None, 0.5, 0.5, 0.7]


def test_runs_that_had_ended_before_there_was_a_feed_are_taken_as_they_are(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "completed", step=100)
    bench.launcher.die("slot-0", 0)
    bench.step()
    judge(bench, run, 10, 0.5)
    bench.epoch += 10
    bench.restart()
    bench.step()
    bench.follower.look()
    assert list(bench.feed.changes()) == []
    judge(bench, run, 20, 0.6)
    bench.index.get(run)
    bench.follower.look()
    assert [change.data["step"] for change in told(bench, "evaluation")] == [20]


def test_a_run_that_was_removed_is_told_of(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.follower.look()
    shutil.rmtree(bench.folder(run).root)
    bench.step()
    bench.follower.look()
    bench.follower.look()
    assert [change.run for change in told(bench, "removed")] == [run]


def change(number: int) -> Change:
    return Change(time=number, run="run", kind="removed")


def numbers(feed: Feed, offset: int = 0) -> list[int]:
    return [int(each.time) for _, each in feed.changes(offset)]


def test_offsets_mean_the_same_after_old_segments_are_gone(tmp_path: Path) -> None:
    feed = Feed(folder=tmp_path, segment_bytes=100, kept=2)
    for number in range(40):
        feed.append([change(number)])
    kept = numbers(feed)
    assert len(list(tmp_path.iterdir())) == feeds.SEGMENTS
    assert kept == list(range(kept[0], 40)) and kept[0] > 0
    offset = next(offset for offset, each in feed.changes() if each.time == 37)
    assert numbers(Feed(folder=tmp_path, segment_bytes=100), offset) == [38, 39]
    assert numbers(feed, feed.end()) == []


def test_what_somebody_has_not_read_is_kept_but_not_for_ever(tmp_path: Path) -> None:
    feed = Feed(folder=tmp_path, segment_bytes=100, needed=lambda: 0)
    for number in range(20):
        feed.append([change(number)])
    assert numbers(feed) == list(range(20))
    for number in range(20, 200):
        feed.append([change(number)])
    assert len(list(tmp_path.iterdir())) <= feeds.MOST_SEGMENTS


def test_a_line_torn_by_a_killed_gateway_is_passed_over(tmp_path: Path) -> None:
    Feed(folder=tmp_path).append([change(1)])
    with next(tmp_path.iterdir()).open("a") as file:
        file.write('{"time": 2, "ru')
    feed = Feed(folder=tmp_path)
    feed.append([change(3)])
    assert numbers(feed) == [1, 3]


def test_a_feed_that_cannot_be_written_to_loses_nothing(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.start()
    bench.step()
    with monkeypatch.context() as broken:
        broken.setattr(bench.feed, "append", lambda _: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            bench.follower.look()
    bench.follower.look()
    assert transitions(bench)
