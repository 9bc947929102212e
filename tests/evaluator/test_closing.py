import fcntl
import os
import shutil

import numpy as np
import pytest
from evaluator_parts import EMA, write_status

from shared.checkpoints import CheckpointStore
from shared.errors import DatasetMissingError
from shared.records import Desired, Event, Pins, read_lines, write_record
from shared.spec import AlternateSharing, EmaSpec, RetentionSpec, RunSpec

SPEC = RunSpec(steps=40, ema=EmaSpec(decays=(0.9,)), retention=RetentionSpec(latest=1, best=1))


def commit(runs, folder, step, value=1.0):
    runs.commit(folder, step, groups={"raw": {"w": np.float32([step, 1])}, EMA: {"w": np.float32([step, value])}})


@pytest.fixture
def folder(runs):
    """A run that is over, with two checkpoints that no rule keeps: 20 is the best, 40 the newest."""
    made = runs.run(spec=SPEC)
    for step in (10, 20, 30, 40):
        commit(runs, made, step, value=1.0 if step == 20 else -1.0)
    write_status(made, "completed", 40)
    return made


def steps(folder):
    return CheckpointStore(folder).steps()


def work(evaluator):
    while evaluator.loop.step():
        pass


def pruned(folder):
    return [event.step for _, event in read_lines(folder.evaluator_events, Event) if event.kind == "checkpoint_pruned"]


def test_f13_what_the_lease_of_a_dead_evaluator_kept_goes_once_the_run_is_over(make_evaluator, folder, clock):
    alive = make_evaluator(name="alive")
    make_evaluator(name="dead").claims.take(folder, 30)
    (folder.exports / "30").mkdir(parents=True)
    work(alive)
    clock.move(29)
    work(alive)
    assert steps(folder) == [10, 20, 30, 40], "nothing of a run goes while somebody reads in it"

    clock.move(2)
    work(alive)
    work(alive)
    assert steps(folder) == [20, 40]
    assert pruned(folder) == [10, 30]
    assert list(folder.leases.glob("*.json")) == []
    assert folder.verdict(30, EMA).exists(), "it was judged first"
    assert folder.export(30).exists(), "which exports stay is another rule"


def test_what_the_evaluator_itself_was_reading_at_the_last_commit_goes_too(evaluator, folder):
    work(evaluator)
    assert steps(folder) == [20, 40]


def test_killed_runs_and_runs_whose_trainer_died_after_its_last_commit_are_over_too(evaluator, folder, runs):
    write_status(folder, "running", 40)
    killed = runs.run("20260102-000000-run-0002", SPEC)
    for step in (10, 20, 30):
        commit(runs, killed, step)
    write_status(killed, "running", 33)
    write_record(killed.desired, Desired(generation=2, state="stopped", kill=True, time=0))
    work(evaluator)
    assert (steps(folder), steps(killed)) == ([20, 40], [10, 30])


@pytest.mark.parametrize(
    "reason",
    [
        "it goes on",
        "its trainer is there",
        "a checkpoint is due",
        "the newest has no figures",
        "pins",
        "no trainer ever",
    ],
)
def test_nothing_goes_while_there_is_a_reason_to_keep_it(evaluator, folder, clock, reason):
    if reason == "it goes on":
        write_status(folder, "released", 30)
        shutil.rmtree(folder.checkpoint(40))
    elif reason == "its trainer is there":
        folder.lock.touch()
    elif reason == "a checkpoint is due":

        def missing(source):
            if "/30/" in source:
                raise DatasetMissingError("not there")

        evaluator.judge.before = missing
    elif reason == "the newest has no figures":
        shutil.rmtree(folder.checkpoint(40))
        write_status(folder, "failed", 30)
        (folder.checkpoint(30) / f"{EMA}.safetensors").unlink()
    elif reason == "pins":
        folder.pins.write_bytes(b"{")
    else:
        folder.status.unlink()
    before = steps(folder)
    with (folder.trainer / "lock").open("ab") as lock:
        if reason == "its trainer is there":
            fcntl.flock(lock, fcntl.LOCK_EX)
        for _ in range(8):
            work(evaluator)
            clock.move(5)
        assert steps(folder) == before
    if reason == "its trainer is there":
        work(evaluator)
        assert steps(folder) == [20, 40], "as soon as it is gone"


def test_pinned_ones_stay_and_go_once_they_are_unpinned(evaluator, folder):
    write_record(folder.pins, Pins(steps=(10,)))
    work(evaluator)
    assert steps(folder) == [10, 20, 40]
    write_record(folder.pins, Pins())
    os.utime(folder.pins, (1, 1))  # another time than before, however coarse the file system's are
    work(evaluator)
    assert steps(folder) == [20, 40]


def test_what_was_left_half_made_or_half_removed_goes(evaluator, folder):
    for name in (".trash-30-1-abcd", ".tmp-35-1-abcd"):
        (folder.checkpoints / name).mkdir()
    work(evaluator)
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["20", "40"]


def test_runs_that_alternate_are_left_to_the_evaluators_of_their_own_turns(evaluator, runs):
    folder = runs.run(spec=SPEC.model_copy(update={"sharing": AlternateSharing(kind="alternate", every_steps=10)}))
    for step in (10, 20, 40):
        commit(runs, folder, step)
    write_status(folder, "completed", 40)
    work(evaluator)
    assert steps(folder) == [10, 20, 40]


def test_a_run_is_looked_at_again_only_when_it_has_changed(evaluator, folder):
    work(evaluator)
    work(evaluator)
    before = folder.checkpoints.stat()
    trash = folder.checkpoints / ".trash-30-1-abcd"
    trash.mkdir()
    os.utime(folder.checkpoints, ns=(before.st_atime_ns, before.st_mtime_ns))
    work(evaluator)
    assert trash.exists()
    os.utime(folder.checkpoints, (1, 1))
    work(evaluator)
    assert not trash.exists()


def test_a_fleet_clears_up_together(make_evaluator, folder):
    fleet = [make_evaluator(name=f"evaluator-{number}") for number in range(3)]
    for member in fleet * 3:
        work(member)
    assert steps(folder) == [20, 40]
    assert pruned(folder) == [10, 30]
