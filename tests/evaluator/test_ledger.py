import os
import shutil

import pytest
from evaluator_parts import write_status

from services.evaluator.ledger import Ledger
from services.evaluator.policy import Policy
from shared.checkpoints import CheckpointStore
from shared.records import Desired, write_record

EMA = "ema-0.9"


@pytest.fixture
def problems():
    return []


@pytest.fixture
def make(volume, clock, problems):
    def make_ledger(policy="newest-first", **options):
        return Ledger(
            volume=volume,
            policy=Policy.parse(policy),
            clock=clock,
            on_problem=lambda folder, error: problems.append((folder.id, error.code)),
            **options,
        )

    return make_ledger


def due(ledger, touched=()):
    ledger.refresh(touched)
    return [(item.run, item.step, item.kinds) for item in ledger.due()]


def write_verdict(folder, step, kind):
    path = folder.verdict(step, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def test_nothing_is_due_on_an_empty_volume(make):
    ledger = make()
    assert due(ledger) == []
    assert ledger.lags() == []


def test_each_kind_without_a_verdict_is_due(make, runs):
    folder = runs.run()
    runs.commit(folder, 10)
    runs.commit(folder, 20)
    write_verdict(folder, 10, "raw")
    assert due(make()) == [(folder.id, 20, ("raw", EMA)), (folder.id, 10, (EMA,))]


def test_a_commit_a_verdict_and_a_removal_are_seen(make, runs, clock):
    folder = runs.run()
    ledger = make()
    assert due(ledger) == []
    runs.commit(folder, 10)
    assert due(ledger) == [(folder.id, 10, ("raw", EMA))]
    for kind in ("raw", EMA):
        write_verdict(folder, 10, kind)
    assert due(ledger) == []
    runs.commit(folder, 20)
    assert len(due(ledger)) == 1
    CheckpointStore(folder).remove(20)
    assert due(ledger) == []
    shutil.rmtree(folder.evaluations)
    assert due(ledger) == [(folder.id, 10, ("raw", EMA))]


def test_a_change_that_does_not_move_the_folders_time_is_seen_all_the_same(make, runs):
    folder = runs.run()
    runs.commit(folder, 10)
    ledger = make()
    due(ledger)
    stat = folder.checkpoints.stat()
    runs.commit(folder, 20)
    os.utime(folder.checkpoints, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    runs.commit(folder, 30)
    os.utime(folder.checkpoints, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert [step for _, step, _ in due(ledger)] == [30, 20, 10]
    runs.commit(folder, 40)
    os.utime(folder.checkpoints, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert [step for _, step, _ in due(ledger)] == [40, 30, 20, 10]


def test_a_run_copied_onto_the_volume_is_seen(make, runs, volume, tmp_path_factory):
    folder = runs.run()
    runs.commit(folder, 10)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / folder.id
    shutil.move(folder.root, elsewhere)
    ledger = make()
    assert due(ledger) == []
    shutil.copytree(elsewhere, folder.root)
    assert [item[:2] for item in due(ledger)] == [(folder.id, 10)]
    shutil.rmtree(folder.root)
    assert due(ledger) == []


def test_a_run_whose_spec_comes_later_than_its_folder_is_seen(make, runs, volume):
    folder = volume.run("20260101-000000-late-0001")
    runs.commit(folder, 10)
    ledger = make()
    assert due(ledger) == []
    runs.run(folder.id)
    assert len(due(ledger)) == 1


def test_a_bad_spec_is_told_once_and_stops_no_other_run(make, runs, clock, problems):
    bad, good = runs.run("20260101-000000-bad-0001"), runs.run("20260101-000000-good-0001")
    for folder in (bad, good):
        runs.commit(folder, 10)
    bad.spec.write_text('{"schema_version": 1, "steps": -1}')
    ledger = make()
    for _ in range(3):
        assert [item[0] for item in due(ledger)] == [good.id]
        clock.move(0.5)
    assert problems == [(bad.id, "corrupt_record")]
    runs.run(bad.id)
    assert {item[0] for item in due(ledger)} == {bad.id, good.id}


def test_the_final_checkpoint_of_a_finished_run_is_due_under_every(make, runs):
    folder = runs.run()
    for step in (10, 15):
        runs.commit(folder, step)
    ledger = make("every:10")
    write_status(folder, "running", 15)
    assert [item[1] for item in due(ledger)] == [10]
    write_status(folder, "stopped", 15)
    assert [item[1] for item in due(ledger)] == [15, 10]


def test_a_run_that_made_all_its_steps_is_finished_whatever_its_status_says(make, runs):
    folder = runs.run()
    runs.commit(folder, 100)
    assert [item[1] for item in due(make("every:33"))] == [100]


def test_a_run_that_was_extended_is_not_finished_at_the_steps_of_its_spec(make, runs):
    folder = runs.run()
    runs.commit(folder, 100)
    ledger = make("every:33")
    assert [item[1] for item in due(ledger)] == [100]
    write_record(folder.desired, Desired(generation=2, state="running", steps=200, time=0))
    assert due(ledger) == []


def test_the_last_checkpoint_of_a_trainer_that_died_is_final_once_it_has_been_silent(make, runs, clock):
    folder = runs.run()
    for step in (10, 15):
        runs.commit(folder, step)
    ledger = make("every:10", silence=60)

    def steps_after(seconds):
        clock.move(seconds)
        return [item[1] for item in due(ledger)]

    write_status(folder, "running", 15)
    assert steps_after(0) == [10]
    assert steps_after(59) == [10]
    write_status(folder, "running", 15)
    assert steps_after(2) == [10], "it was alive a second ago"
    assert steps_after(59) == [10]
    assert steps_after(2) == [15, 10]
    write_status(folder, "running", 17)
    runs.commit(folder, 17)
    assert steps_after(1) == [10], "it goes on, so step 15 is not the last"


def test_f15_lag_counts_steps_between_the_newest_waiting_and_the_newest_judged(make, runs):
    folder = runs.run()
    for step in (10, 20, 50):
        runs.commit(folder, step)
    ledger = make()
    for kind in ("raw", EMA):
        write_verdict(folder, 20, kind)
    ledger.refresh()
    (lag,) = ledger.lags()
    assert (lag.run, lag.steps, ledger.backlog) == (folder.id, 30, 2)
    assert lag.since == pytest.approx(folder.checkpoint(50).stat().st_mtime)
    for kind in ("raw", EMA):
        write_verdict(folder, 50, kind)
    ledger.refresh()
    (lag,) = ledger.lags()
    assert (lag.steps, lag.since, ledger.backlog) == (0, None, 1)


def test_missing_asks_the_volume_at_this_moment(make, runs):
    folder = runs.run()
    runs.commit(folder, 10)
    ledger = make()
    ledger.refresh()
    assert ledger.missing(folder.id, 10) == ("raw", EMA)
    write_verdict(folder, 10, "raw")
    assert ledger.missing(folder.id, 10) == (EMA,)
    CheckpointStore(folder).remove(10)
    assert ledger.missing(folder.id, 10) == ()
    assert ledger.missing("unknown", 10) == ()


def test_quiet_runs_are_asked_in_turn(make, runs, clock):
    folders = [runs.run(f"20260101-000000-run-{number:04}") for number in range(30)]
    ledger = make(turn=5, always=2)
    ledger.refresh()
    clock.move(10)
    runs.commit(folders[29], 10)
    assert [item[0] for item in due(ledger)] == [folders[29].id]
    runs.commit(folders[3], 10)
    found = [folders[3].id in {item[0] for item in due(ledger)} for _ in range(6)]
    assert found.count(False) >= 1
    assert found[-1]


def test_a_run_whose_folders_have_not_changed_is_not_read_again(make, runs, clock):
    folder = runs.run()
    runs.commit(folder, 10)
    ledger = make()
    due(ledger)
    clock.move(10)
    due(ledger)
    stat = folder.checkpoints.stat()
    runs.commit(folder, 20)
    os.utime(folder.checkpoints, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert [item[1] for item in due(ledger)] == [10]
    folder.checkpoints.touch()
    assert [item[1] for item in due(ledger)] == [20, 10]


def test_a_touched_run_is_read_at_once(make, runs, clock):
    folders = [runs.run(f"20260101-000000-run-{number:04}") for number in range(30)]
    ledger = make(turn=1, always=1)
    ledger.refresh()
    runs.commit(folders[7], 10)
    assert due(ledger) == []
    assert [item[0] for item in due(ledger, touched={folders[7].id, "unknown"})] == [folders[7].id]
