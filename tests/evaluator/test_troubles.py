"""Checkpoints, data sets and disks that make trouble: what is judged, tried again, or given up."""

import math
import shutil

import numpy as np
import pytest
from evaluator_parts import EMA, events, work

from services.evaluator.judging import NotExportableError, NotFiniteError
from services.evaluator.loop import ONCE_ATTEMPTS, UNFORESEEN_ATTEMPTS
from shared.checkpoints import CheckpointStore
from shared.errors import DatasetMissingError
from shared.records import Verdict, read_record


def weights(value):
    return {"w": np.float32([0, value])}


def damage(folder, step, name):
    path = folder.checkpoint(step) / name
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def raising(error):
    """What has a judge raise it whatever it is asked."""

    def before(source):
        raise error

    return before


def test_a_model_that_cannot_be_exported_says_why_and_is_judged(evaluator, runs, verdict):
    folder = runs.committed(10)
    evaluator.exporter.error = NotExportableError("it uses an operation that ONNX does not have")
    work(evaluator)
    assert verdict(folder, 10, EMA).status == "judged"
    assert events(folder) == [("not_exportable", 10)]
    assert evaluator.metric("tandem_exports_total", outcome="failed") == 1


@pytest.mark.parametrize("name", ["manifest.json", "raw.safetensors"])
def test_a_damaged_checkpoint_gets_a_verdict_that_says_so_and_is_left_alone(evaluator, runs, clock, verdict, name):
    folder = runs.committed(10, 20)
    damage(folder, 20, name)
    work(evaluator)
    assert verdict(folder, 10, "raw").status == "judged"
    assert not folder.verdict(20, "raw").exists()
    for _ in range(5):
        clock.move(3)
        work(evaluator)
    found = verdict(folder, 20, "raw")
    assert found.status == "corrupt"
    assert name in found.problem
    assert found.precision_at_1 is None
    whole = verdict(folder, 20, EMA)
    assert whole.status == ("corrupt" if name == "manifest.json" else "judged")
    assert events(folder) == [("corrupt", 20)]
    clock.move(1000)
    assert work(evaluator) == 0


def test_a_checkpoint_that_is_still_being_copied_is_not_condemned(evaluator, runs, clock, verdict):
    folder = runs.committed(10)
    path = folder.checkpoint(10) / f"{EMA}.safetensors"
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 4):
        path.write_bytes(whole[:length])
        clock.move(8)
        work(evaluator)
    path.write_bytes(whole)
    clock.move(8)
    work(evaluator)
    assert verdict(folder, 10, EMA).status == "judged"


@pytest.fixture
def stalled(evaluator, runs, clock, verdict):
    """A checkpoint of whose averages a half has come, and which was condemned; and the other half."""
    folder = runs.run()
    runs.commit(folder, 10)
    path = folder.checkpoint(10) / f"{EMA}.safetensors"
    whole = path.read_bytes()
    damage(folder, 10, path.name)
    for _ in range(4):
        work(evaluator)
        clock.move(5)
    assert (verdict(folder, 10, EMA).status, verdict(folder, 10, "raw").status) == ("corrupt", "judged")
    return folder, path, whole


@pytest.mark.parametrize("by", ["the same", "another", "one that was started since"])
def test_a_checkpoint_whose_copy_stalled_is_judged_once_it_has_come(evaluator, make_evaluator, stalled, runs, by):
    folder, path, whole = stalled
    another = make_evaluator(name="another")
    work(another)
    assert another.judge.asked == [], "it is left alone for as long as nothing has changed"
    judges = {"the same": evaluator, "another": another, "one that was started since": make_evaluator(name="new")}[by]
    path.write_bytes(whole)
    judges.judge.asked.clear()
    work(judges)
    assert [source.rsplit("/", 1)[1] for source in judges.judge.asked] == [EMA], "and the other kind is not again"
    assert read_record(folder.verdict(10, EMA), Verdict).status == "judged"
    runs.commit(folder, 20)
    for member in (evaluator, another):
        work(member)
    assert read_record(folder.verdict(20, EMA), Verdict).comparison.step == 10, "nobody takes it for damaged any more"
    assert list(folder.leases.glob("*.json")) == []


def test_a_condemned_checkpoint_that_has_changed_and_is_still_damaged_is_condemned_anew(
    evaluator, stalled, clock, verdict
):
    folder, path, whole = stalled
    path.write_bytes(whole[:-1])
    work(evaluator)
    assert not folder.verdict(10, EMA).exists()
    for _ in range(4):
        clock.move(5)
        work(evaluator)
    assert verdict(folder, 10, EMA).status == "corrupt"
    assert f"{len(whole) - 1} bytes" in verdict(folder, 10, EMA).problem
    clock.move(1000)
    assert work(evaluator) == 0


def test_a_checkpoint_that_is_made_anew_after_the_damaged_one_was_moved_away_is_judged(
    evaluator, stalled, runs, verdict
):
    folder, _, _ = stalled
    CheckpointStore(folder).quarantine(10)
    work(evaluator)
    runs.commit(folder, 10)
    work(evaluator)
    assert verdict(folder, 10, EMA).status == "judged"


def test_of_a_fleet_one_judges_a_condemned_checkpoint_anew_and_one_that_was_overtaken_takes_nothing_back(
    make_evaluator, stalled, clock, verdict
):
    folder, path, whole = stalled
    slow, fast = make_evaluator(name="slow"), make_evaluator(name="fast")
    path.write_bytes(whole)
    missing = slow.ledger.missing

    def overtaken(run, step):
        kinds = missing(run, step)
        if slow.judge.asked == [] and not fast.judge.asked:
            assert fast.loop.step() is False
            clock.move(31)
            assert fast.loop.step() is True
        return kinds

    slow.ledger.missing = overtaken
    slow.loop.step()
    assert (verdict(folder, 10, EMA).status, verdict(folder, 10, EMA).evaluator) == ("judged", "fast")


def test_f25_raw_weights_alone_are_refused(evaluator, runs, clock, verdict):
    folder = runs.run()
    runs.commit(folder, 10, groups={"raw": weights(1)})
    for _ in range(5):
        work(evaluator)
        clock.move(5)
    for kind in ("raw", EMA):
        assert verdict(folder, 10, kind).status == "corrupt"
        assert "no averaged weights" in verdict(folder, 10, kind).problem
    assert evaluator.judge.asked == []


@pytest.mark.parametrize(("step", "told"), [(1, False), (2, True)])
def test_f25_averages_that_equal_the_raw_weights_are_told(evaluator, runs, verdict, step, told):
    folder = runs.run()
    runs.commit(folder, step, groups={"raw": weights(1), EMA: weights(1)})
    work(evaluator)
    assert events(folder) == ([("ema_equals_raw", step)] if told else [])
    assert verdict(folder, step, EMA).status == "judged"


def test_weights_that_are_no_numbers_fail_at_once_and_for_good(evaluator, runs, verdict):
    folder = runs.run()
    runs.commit(folder, 10, groups={"raw": weights(1), EMA: weights(math.nan)})
    work(evaluator)
    assert verdict(folder, 10, "raw").status == "judged"
    assert verdict(folder, 10, EMA).status == "failed"
    assert "w holds values that are not finite numbers" in verdict(folder, 10, EMA).problem
    assert evaluator.exporter.asked == []


def test_answers_that_are_no_numbers_fail_at_once_and_for_good(evaluator, runs, verdict):
    folder = runs.committed(10)
    evaluator.judge.before = raising(NotFiniteError("10 of 10 answers are not finite numbers"))
    assert work(evaluator) == 1
    assert verdict(folder, 10, EMA).status == "failed"
    assert "10 of 10 answers" in verdict(folder, 10, EMA).problem


def test_f12_a_checkpoint_pruned_while_it_waits_or_is_read_is_passed_over_quietly(evaluator, runs):
    folder = runs.committed(10, 20)
    evaluator.ledger.refresh()
    store = CheckpointStore(folder)
    evaluator.judge.before = lambda source: store.remove(10)
    work(evaluator)
    assert events(folder) == []
    assert not folder.verdict(10, "raw").exists()
    assert folder.verdict(20, EMA).exists()


def test_a_missing_data_set_puts_off_its_run_alone_and_is_tried_again(evaluator, runs, clock):
    other, folder = runs.run("20260101-000000-other-0001"), runs.run("20260102-000000-run-0001")
    for step in (10, 20):
        runs.commit(folder, step)
        runs.commit(other, step)

    def missing(source):
        if folder.id in source:
            raise DatasetMissingError("not there", where="datasets/cifar10")

    evaluator.judge.before = missing
    work(evaluator)
    assert other.verdict(10, EMA).exists()
    assert sum(folder.id in source for source in evaluator.judge.asked) == 1
    assert events(folder) == [("dataset_missing", 20)]
    evaluator.judge.before = lambda source: None
    assert work(evaluator) == 0
    clock.move(2)
    assert work(evaluator) == 2
    assert folder.verdict(20, EMA).exists()
    assert evaluator.metric("tandem_evaluation_problems_total", code="dataset_missing") == 1


def test_failed_reads_are_tried_again_with_growing_waits_and_never_given_up(evaluator, runs, clock):
    folder = runs.committed(10)
    evaluator.judge.before = raising(OSError(5, "Input/output error"))
    for _ in range(1000):
        work(evaluator)
        clock.move(1)
    assert 1000 / 60 < len(evaluator.judge.asked) < 1000 / 60 + 10
    assert events(folder) == [("io", 10)]
    evaluator.judge.before = lambda source: None
    clock.move(60)
    assert work(evaluator) == 1
    assert folder.verdict(10, EMA).exists()


def test_an_unforeseen_error_is_tried_a_few_times_and_then_told_in_the_verdict(evaluator, runs, clock, verdict):
    folder = runs.committed(10)
    evaluator.judge.before = raising(RuntimeError("the network has no such place"))
    for _ in range(200):
        work(evaluator)
        clock.move(1)
    assert len(evaluator.judge.asked) == UNFORESEEN_ATTEMPTS
    assert verdict(folder, 10, EMA).status == "failed"
    assert "no such place" in verdict(folder, 10, EMA).problem


def test_what_a_killed_evaluator_left_half_written_is_removed(evaluator, runs):
    folder = runs.committed(10)
    folder.verdict(10, "raw").parent.mkdir(parents=True)
    (folder.evaluations / "10" / ".tmp-raw.json-1-abcd").write_bytes(b"{")
    work(evaluator)
    assert sorted(path.name for path in (folder.evaluations / "10").iterdir()) == [
        f"{EMA}.answers",
        f"{EMA}.json",
        "raw.answers",
        "raw.json",
    ]


def test_a_run_that_is_removed_while_it_is_judged_does_not_come_back_as_an_event(evaluator, runs):
    folder = runs.committed(10)

    def remove(source):
        shutil.rmtree(folder.root)
        raise OSError(5, "Input/output error")

    evaluator.judge.before = remove
    work(evaluator)
    assert not folder.root.exists()


@pytest.mark.parametrize("moment", ["judged", "exported"])
def test_a_run_that_is_removed_before_its_verdict_does_not_come_back_by_it(evaluator, runs, verdict, moment):
    folder, other = runs.run(), runs.run("20250101-000000-other-0001")
    runs.commit(folder, 10)
    runs.commit(other, 10)

    def remove(*_):
        folder.root.rename(folder.root.with_name(".trash"))
        return True

    if moment == "judged":
        evaluator.judge.before = lambda source: remove() if folder.id in source and folder.root.exists() else None
    else:
        made = evaluator.exporter.export
        evaluator.exporter.export = lambda run, *rest, **how: remove() if run == folder else made(run, *rest, **how)
    work(evaluator)
    assert not folder.root.exists()
    assert verdict(other, 10, EMA).status == "judged"
    assert evaluator.metric("tandem_evaluations_total", outcome="retried") == 0


def test_once_judges_what_is_due_and_says_that_nothing_is_left(evaluator, runs):
    folder = runs.committed(10, 20)
    damage(folder, 10, "manifest.json")
    assert evaluator.loop.run_once() is True
    assert folder.verdict(10, EMA).exists()
    assert folder.verdict(20, EMA).exists()


def test_once_gives_up_on_what_keeps_failing(evaluator, runs):
    runs.committed(10)
    evaluator.judge.before = raising(DatasetMissingError("not there"))
    assert evaluator.loop.run_once() is False
    assert len(evaluator.judge.asked) == ONCE_ATTEMPTS
