from typing import Any

import pytest

from services.gateway.index.index import SLICE
from services.gateway.steering.making import Key
from shared.errors import CorruptRecordError, InputError, NotFoundError, UnavailableError, UnknownSchemaError
from shared.records import Desired, Verdict, write_record


def verdict(run: str, step: int, *, weights: str = "raw", **values: Any) -> Verdict:
    known: dict[str, Any] = {"examples": 10, "precision_at_1": 0.5, "interval": (0.4, 0.6), "time": 0.0} | values
    if weights == "ema":
        known["decay"] = known.get("decay", 0.9999)
    return Verdict(run=run, step=step, weights=weights, confusion=((1, 0), (0, 1)), **known)


def judge(bench: Any, run: str, step: int, kind: str = "raw", **values: Any) -> None:
    weights = kind.partition("-")[0]
    write_record(bench.folder(run).verdict(step, kind), verdict(run, step, weights=weights, **values))


def everything(_: Any) -> bool:
    return True


def nothing(_: Any) -> bool:
    return False


def test_a_changed_record_is_read_again_and_an_unchanged_one_is_not(bench: Any) -> None:
    run = bench.start()
    before = bench.index.get(run)
    assert bench.index.get(run) is before
    bench.report(run, "running", fence=1)
    assert bench.index.get(run).status.phase == "running"
    write_record(bench.folder(run).desired, Desired(generation=5, state="stopped", time=0))
    assert bench.index.get(run).desired.generation == 5


def test_verdicts_come_by_step_and_kind_without_their_bulk(bench: Any) -> None:
    run = bench.start()
    judge(bench, run, 10)
    judge(bench, run, 9)
    assert [each.step for each in bench.index.get(run).verdicts] == [9, 10]
    judge(bench, run, 10, "ema-0.9999")
    found = bench.index.get(run).verdicts
    assert [(each.step, each.weights) for each in found] == [(9, "raw"), (10, "ema"), (10, "raw")]
    assert all(each.confusion == () for each in found)


def test_a_foreign_file_among_the_verdicts_is_passed_over(bench: Any) -> None:
    run = bench.start()
    judge(bench, run, 10)
    (bench.folder(run).evaluations / "10" / ".tmp-raw.json-1-ab").write_text("{")
    (bench.folder(run).evaluations / "10" / "notes.json").write_text("{}")
    assert len(bench.index.get(run).verdicts) == 1


def test_new_and_removed_runs_are_noticed(bench: Any) -> None:
    first, second = bench.start(), bench.start()
    assert [each.id for each in bench.index.runs()] == [first, second]
    bench.folder(first).spec.unlink()
    bench.index.refresh(nothing)
    assert [each.id for each in bench.index.runs()] == [second]
    with pytest.raises(NotFoundError):
        bench.index.get(first)


def test_a_run_that_rests_is_seen_in_its_turn_and_one_at_work_at_once(bench: Any) -> None:
    runs = [bench.start() for _ in range(SLICE + 1)]
    bench.index.refresh(nothing)
    for run in runs:
        judge(bench, run, 1)
    bench.index.refresh(nothing)
    seen = [bool(each.verdicts) for each in bench.index.runs()]
    assert seen.count(False) == 1
    bench.index.refresh(nothing)
    assert all(each.verdicts for each in bench.index.runs())
    judge(bench, runs[-1], 2)
    bench.index.refresh(everything)
    assert len(bench.index.runs()[-1].verdicts) == 2


@pytest.mark.parametrize(("text", "error"), [("{", CorruptRecordError), ('{"schema_version": 7}', UnknownSchemaError)])
def test_an_unreadable_run_is_a_problem_of_its_own_and_comes_back_when_mended(
    bench: Any, text: str, error: type[Exception]
) -> None:
    run, other = bench.start(), bench.start()
    whole = bench.folder(run).desired.read_bytes()
    bench.folder(run).desired.write_text(text)
    bench.index.refresh(everything)
    assert [each.id for each in bench.index.runs()] == [other]
    assert str(bench.folder(run).desired) in str(bench.index.problems()[run])
    with pytest.raises(error):
        bench.index.get(run)
    bench.folder(run).desired.write_bytes(whole)
    assert bench.index.get(run).desired.state == "running"
    assert bench.index.problems() == {}


def test_an_id_that_would_leave_the_volume_is_refused(bench: Any) -> None:
    with pytest.raises(InputError):
        bench.index.get("../../etc")


def test_the_newest_checkpoint_is_known(bench: Any) -> None:
    run = bench.start()
    bench.checkpoint(run, 90)
    bench.checkpoint(run, 100)
    (bench.folder(run).checkpoints / ".tmp-200-1-aa").mkdir()
    assert bench.index.get(run).checkpoint_step == 100


def test_a_gateway_begins_before_it_has_read_every_old_run_and_then_starts_none_too_early(bench: Any) -> None:
    bench.launcher.names = []
    made = [bench.start() for _ in range(3)]
    bench.launcher.names = ["slot-0"]
    bench.restart()
    ticks = iter(range(1_000_000))
    bench.index._clock = lambda: next(ticks)
    seen = []
    while True:
        bench.step()
        seen.append([each.run.id for each in bench.runs.awake()])
        if not bench.runs.unread:
            break
        assert bench.launcher.started == []
        with pytest.raises(UnavailableError, match="has still to read"):
            bench.starter.start(recipe="tiny", changes={}, key=Key(text="k", body_sha256="0"))
        assert bench.runs.show(made[0]).state.state == "queued"
    assert seen[0][-1] == made[2], "the newest first"
    assert seen[-1] == made
    bench.step()
    assert bench.assignment().run == made[0]


def test_what_runs_have_in_common_is_held_once(bench: Any) -> None:
    first, second = (bench.runs.show(bench.start(seed=seed)).run.spec for seed in (1, 2))
    assert first != second
    assert first.learning_rate is second.learning_rate
    assert first.augment is second.augment
