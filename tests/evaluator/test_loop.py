import itertools
import shutil

from evaluator_parts import EMA, events, work

from shared.checkpoints import CheckpointStore
from shared.records import Lease, read_record


def test_each_checkpoint_is_judged_once_in_the_order_of_the_policy(evaluator, runs, verdict):
    folder = runs.committed(10, 20, 30)
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
    folder = runs.committed(10, 20, 30, 40)
    judged = []
    evaluator.judge.before = lambda source: judged.append(int(source.split("/")[-2]))
    evaluator.loop.step()
    runs.commit(folder, 50)
    work(evaluator)
    assert list(dict.fromkeys(judged)) == [40, 50, 30, 20, 10]


def test_f27_a_wall_clock_that_jumps_changes_neither_what_is_judged_nor_in_which_order(evaluator, runs, verdict):
    folder = runs.committed(10, 20, 30)
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
    folder = runs.committed(10, 15, 20, 25)
    evaluator = make_evaluator(policy="every:10")
    assert work(evaluator) == 2
    assert [folder.verdict(step, EMA).exists() for step in (10, 15, 20, 25)] == [True, False, True, False]
    clock.move(61)
    assert work(evaluator) == 1
    assert folder.verdict(25, EMA).exists()


def test_once_ends_although_a_trainer_that_died_never_finished_its_run(evaluator, runs, clock):
    runs.committed(10)
    assert evaluator.loop.run_once() is True
    assert clock.now == 1000.0, "nothing was waited for"


def test_a_run_copied_onto_the_volume_is_judged_and_what_was_judged_elsewhere_is_not_judged_again(
    evaluator, runs, tmp_path_factory
):
    folder = runs.committed(10)
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
    runs.committed(10)
    work(evaluator)
    again = make_evaluator()
    assert work(again) == 0
    assert again.judge.asked == []


def test_the_lease_is_held_while_judging_and_released_afterwards(evaluator, runs):
    folder = runs.committed(10)
    owners = []
    evaluator.judge.before = lambda source: owners.append(read_record(folder.lease(10), Lease).owner)
    work(evaluator)
    assert owners == ["evaluator", "evaluator"]
    assert not folder.lease(10).exists()


def test_the_averages_alone_are_exported_before_their_verdict(evaluator, runs):
    folder = runs.committed(10)
    work(evaluator)
    assert evaluator.exporter.asked == [(folder.id, 10, EMA)]


def test_a_stop_between_batches_abandons_the_evaluation_and_releases_the_lease(evaluator, runs):
    folder = runs.committed(10)
    evaluator.judge.before = lambda source: evaluator.stop.set()
    evaluator.loop.run()
    assert not folder.verdict(10, "raw").exists()
    assert not folder.lease(10).exists()
    assert evaluator.metric("tandem_evaluations_total", outcome="abandoned") == 1
