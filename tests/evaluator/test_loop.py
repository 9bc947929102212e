import itertools
import math
import os
import shutil
import threading

import numpy as np
import pytest

from services.evaluator.judging import NotExportableError, NotFiniteError
from services.evaluator.loop import ONCE_ATTEMPTS, UNFORESEEN_ATTEMPTS
from shared.checkpoints import CheckpointStore
from shared.errors import DatasetMissingError
from shared.records import Event, Lease, read_lines, read_record

EMA = "ema-0.9"


def events(folder):
    return [(event.kind, event.step) for _, event in read_lines(folder.evaluator_events, Event)]


def weights(value):
    return {"w": np.float32([0, value])}


def work(evaluator):
    """Steps until nothing is left that can be done now; returns how many were made."""
    steps = 0
    while evaluator.loop.step():
        steps += 1
        assert steps < 1000
    return steps


def test_each_checkpoint_is_judged_once_in_the_order_of_the_policy(evaluator, runs, verdict):
    folder = runs.run()
    for step in (10, 20, 30):
        runs.commit(folder, step)
    assert work(evaluator) == 3
    assert [(source.split("/")[-2], source.split("/")[-1]) for source in evaluator.judge.asked] == [
        (step, kind) for step in ("30", "20", "10") for kind in ("raw", EMA)
    ]
    found = verdict(folder, 20, EMA)
    assert (found.run, found.step, found.weights, found.decay, found.status) == (folder.id, 20, "ema", 0.9, "judged")
    assert (found.examples, found.precision_at_1, found.evaluator) == (10, 1.0, "evaluator")
    assert found.manifest_sha256 == CheckpointStore(folder).open(20).manifest_sha256
    assert verdict(folder, 20, "raw").decay is None
    assert work(evaluator) == 0
    assert evaluator.metric("tandem_evaluations_total", outcome="judged") == 3
    assert evaluator.metric("tandem_evaluation_backlog") == 0


def test_f15_a_new_commit_is_judged_before_the_backlog(evaluator, runs):
    folder = runs.run()
    for step in (10, 20, 30, 40):
        runs.commit(folder, step)
    judged = []
    evaluator.judge.before = lambda source: judged.append(int(source.split("/")[-2]))
    evaluator.loop.step()
    runs.commit(folder, 50)
    work(evaluator)
    assert list(dict.fromkeys(judged)) == [40, 50, 30, 20, 10]


def test_f27_a_wall_clock_that_jumps_changes_neither_what_is_judged_nor_in_which_order(evaluator, runs, verdict):
    folder = runs.run()
    for step in (10, 20, 30):
        runs.commit(folder, step)
    jumps = itertools.cycle((1e9, -1e9))
    evaluator.judge.before = lambda source: setattr(evaluator.wall, "now", next(jumps))
    assert work(evaluator) == 3
    assert [source.split("/")[-2] for source in evaluator.judge.asked] == ["30", "30", "20", "20", "10", "10"]
    assert {verdict(folder, step, kind).status for step in (10, 20, 30) for kind in ("raw", EMA)} == {"judged"}
    times = [verdict(folder, step, kind).time for step in (30, 20, 10) for kind in ("raw", EMA)]
    assert [time > 0 for time in times] == [True, False] * 3, "it did jump, with each verdict"
    assert events(folder) == []
    assert list(folder.leases.glob("*.json")) == []


def test_every_nth_is_judged_and_a_dead_trainers_last_one_without_waiting_for_ever(make_evaluator, runs, clock):
    folder = runs.run()
    for step in (10, 15, 20, 25):
        runs.commit(folder, step)
    evaluator = make_evaluator(policy="every:10")
    assert work(evaluator) == 2
    assert [folder.verdict(step, EMA).exists() for step in (10, 15, 20, 25)] == [True, False, True, False]
    clock.move(61)
    assert work(evaluator) == 1
    assert folder.verdict(25, EMA).exists()


def test_once_ends_although_a_trainer_that_died_never_finished_its_run(evaluator, runs, clock):
    folder = runs.run()
    runs.commit(folder, 10)
    assert evaluator.loop.run_once() is True
    assert clock.now == 1000.0, "nothing was waited for"


def test_a_run_copied_onto_the_volume_is_judged_and_what_was_judged_elsewhere_is_not_judged_again(
    evaluator, runs, tmp_path_factory
):
    folder = runs.run()
    runs.commit(folder, 10)
    work(evaluator)
    runs.commit(folder, 20)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / folder.id
    shutil.move(folder.root, elsewhere)
    assert work(evaluator) == 0
    evaluator.judge.asked.clear()
    shutil.copytree(elsewhere, folder.root)
    assert work(evaluator) == 1
    assert {source.split("/")[-2] for source in evaluator.judge.asked} == {"20"}


def test_nothing_is_judged_again_after_a_restart(evaluator, make_evaluator, runs):
    folder = runs.run()
    runs.commit(folder, 10)
    work(evaluator)
    again = make_evaluator()
    assert work(again) == 0
    assert again.judge.asked == []


def test_the_lease_is_held_while_judging_and_released_afterwards(evaluator, runs):
    folder = runs.run()
    runs.commit(folder, 10)
    owners = []
    evaluator.judge.before = lambda source: owners.append(read_record(folder.lease(10), Lease).owner)
    work(evaluator)
    assert owners == ["evaluator", "evaluator"]
    assert not folder.lease(10).exists()


def test_the_averages_alone_are_exported_before_their_verdict(evaluator, runs):
    folder = runs.run()
    runs.commit(folder, 10)
    work(evaluator)
    assert evaluator.exporter.asked == [(folder.id, 10, EMA)]


def test_a_model_that_cannot_be_exported_says_why_and_is_judged(evaluator, runs, verdict):
    folder = runs.run()
    runs.commit(folder, 10)
    evaluator.exporter.error = NotExportableError("it uses an operation that ONNX does not have")
    work(evaluator)
    assert verdict(folder, 10, EMA).status == "judged"
    assert events(folder) == [("not_exportable", 10)]
    assert evaluator.metric("tandem_exports_total", outcome="failed") == 1


def damage(folder, step, name):
    path = folder.checkpoint(step) / name
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("name", ["manifest.json", "raw.safetensors"])
def test_a_damaged_checkpoint_gets_a_verdict_that_says_so_and_is_left_alone(evaluator, runs, clock, verdict, name):
    folder = runs.run()
    runs.commit(folder, 10)
    runs.commit(folder, 20)
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
    folder = runs.run()
    runs.commit(folder, 10)
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
    folder = runs.run()
    runs.commit(folder, 10)

    def overflow(source):
        raise NotFiniteError("10 of 10 answers are not finite numbers", where=source)

    evaluator.judge.before = overflow
    assert work(evaluator) == 1
    assert verdict(folder, 10, EMA).status == "failed"
    assert "10 of 10 answers" in verdict(folder, 10, EMA).problem


def test_f12_a_checkpoint_pruned_while_it_waits_or_is_read_is_passed_over_quietly(evaluator, runs):
    folder = runs.run()
    for step in (10, 20):
        runs.commit(folder, step)
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
    folder = runs.run()
    runs.commit(folder, 10)

    def fail(source):
        raise OSError(5, "Input/output error")

    evaluator.judge.before = fail
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
    folder = runs.run()
    runs.commit(folder, 10)

    def fail(source):
        raise RuntimeError("the network has no such place")

    evaluator.judge.before = fail
    for _ in range(200):
        work(evaluator)
        clock.move(1)
    assert len(evaluator.judge.asked) == UNFORESEEN_ATTEMPTS
    assert verdict(folder, 10, EMA).status == "failed"
    assert "no such place" in verdict(folder, 10, EMA).problem


def test_a_stop_between_batches_abandons_the_evaluation_and_releases_the_lease(evaluator, runs):
    folder = runs.run()
    runs.commit(folder, 10)
    evaluator.judge.before = lambda source: evaluator.stop.set()
    evaluator.loop.run()
    assert not folder.verdict(10, "raw").exists()
    assert not folder.lease(10).exists()
    assert evaluator.metric("tandem_evaluations_total", outcome="abandoned") == 1


def test_a_fleet_shares_the_work_and_judges_everything_once(make_evaluator, runs, clock):
    folders = [runs.run(f"20260101-000000-run-{number:04}") for number in range(2)]
    for folder in folders:
        for step in range(1, 31):
            runs.commit(folder, step)
    fleet = [make_evaluator(name=f"evaluator-{number}") for number in range(3)]
    threads = [threading.Thread(target=work, args=(member,)) for member in fleet]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked = [source for member in fleet for source in member.judge.asked]
    assert len(asked) == len(set(asked)) == 2 * 30 * 2
    assert all(member.judge.asked for member in fleet)


def test_f13_the_claim_of_a_dead_evaluator_expires_and_its_checkpoint_is_judged(make_evaluator, runs, clock):
    folder = runs.run()
    runs.commit(folder, 10)
    make_evaluator(name="dead").claims.take(folder, 10)
    evaluator = make_evaluator(name="alive")
    assert work(evaluator) == 0
    clock.move(29)
    assert work(evaluator) == 0
    clock.move(2)
    assert work(evaluator) == 1
    assert folder.verdict(10, EMA).exists()


def test_one_that_was_overtaken_writes_over_no_verdict(make_evaluator, runs, clock, verdict):
    folder = runs.run()
    runs.commit(folder, 10)
    slow, fast = make_evaluator(name="slow"), make_evaluator(name="fast")

    def overtaken(source):
        if source.endswith(EMA):
            assert fast.loop.step() is False
            clock.move(31)
            assert fast.loop.step() is True

    slow.judge.before = overtaken
    slow.loop.step()
    assert verdict(folder, 10, EMA).evaluator == "fast"
    assert verdict(folder, 10, "raw").evaluator == "slow"


def test_what_a_killed_evaluator_left_half_written_is_removed(evaluator, runs):
    folder = runs.run()
    runs.commit(folder, 10)
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
    folder = runs.run()
    runs.commit(folder, 10)

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
    folder = runs.run()
    for step in (10, 20):
        runs.commit(folder, step)
    damage(folder, 10, "manifest.json")
    assert evaluator.loop.run_once() is True
    assert folder.verdict(10, EMA).exists()
    assert folder.verdict(20, EMA).exists()


def test_once_gives_up_on_what_keeps_failing(evaluator, runs):
    folder = runs.run()
    runs.commit(folder, 10)

    def missing(source):
        raise DatasetMissingError("not there")

    evaluator.judge.before = missing
    assert evaluator.loop.run_once() is False
    assert len(evaluator.judge.asked) == ONCE_ATTEMPTS


def test_the_metrics_show_precision_and_lag(evaluator, runs):
    folder = runs.run()
    runs.commit(folder, 10)
    runs.commit(folder, 30)
    evaluator.loop.step()
    assert evaluator.metric("tandem_evaluation_lag_steps", run=folder.id) == 30
    evaluator.loop.step()
    assert evaluator.metric("tandem_evaluation_lag_steps", run=folder.id) == 0
    assert evaluator.metric("tandem_evaluation_precision", run=folder.id, weights=EMA, top="1") == 1.0
    assert evaluator.metric("tandem_evaluation_precision", run=folder.id, weights="raw", top="2") == 1.0
    assert evaluator.metric("tandem_evaluation_step", run=folder.id) == 30


def test_the_metrics_show_the_backlog_and_for_how_long_the_newest_has_been_waiting(evaluator, runs):
    folder = runs.run()
    for step in (10, 20, 30):
        runs.commit(folder, step)
        os.utime(folder.checkpoint(step), (step, step))
    evaluator.wall.now = 41.0  # the next reading is 42
    evaluator.loop.step()
    assert evaluator.metric("tandem_evaluation_backlog") == 3
    assert evaluator.metric("tandem_evaluation_lag_steps", run=folder.id) == 30
    assert evaluator.metric("tandem_evaluation_lag_seconds", run=folder.id) == 12.0
    evaluator.loop.step()
    assert evaluator.metric("tandem_evaluation_backlog") == 2
    assert evaluator.metric("tandem_evaluation_lag_steps", run=folder.id) == 0, "older ones are no lag"
    assert evaluator.metric("tandem_evaluation_lag_seconds", run=folder.id) == 0.0
    work(evaluator)
    assert evaluator.metric("tandem_evaluation_backlog") == 0
