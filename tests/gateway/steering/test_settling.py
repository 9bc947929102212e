"""What follows when a trainer has ended, whoever sees it: the next one, after a while, or none."""

from typing import Any

import pytest

from services.gateway.steering.endings import HOPELESS
from tests.gateway.steering.ways import running


def test_a_killed_trainer_is_started_again_with_a_greater_fence_after_a_while(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "running")
    bench.launcher.die("slot-0", -9)
    bench.step()
    assert bench.state(run) == "restarting"
    assert bench.reason(run) == "its trainer was killed by signal 9"
    assert bench.launcher.started == ["slot-0"]
    bench.step(seconds=1.1)
    assert bench.launcher.started == ["slot-0", "slot-0"]
    assert bench.fence() == 2
    assert bench.state(run) == "starting"


def test_restarts_come_at_growing_distances_up_to_a_limit(bench: Any) -> None:
    run = bench.start()
    bench.step()
    delays = []
    for step in (10, 10, 20):  # the third made a checkpoint, so the distance begins anew
        bench.folder(run).checkpoint(step).mkdir(parents=True, exist_ok=True)
        bench.launcher.die("slot-0", 1)
        bench.step()
        before = bench.now
        while "slot-0" not in bench.launcher.alive:
            bench.step(seconds=0.25)
        delays.append(bench.now - before)
    assert delays == [1.0, 2.0, 1.0]


def test_f22_a_run_without_progress_fails_after_so_many_trainers(bench: Any) -> None:
    run = bench.start()
    for _ in range(3):
        bench.step(seconds=10)
        bench.launcher.die("slot-0", 1)
        bench.step()
    assert bench.state(run) == "failed"
    assert bench.reason(run) == "its trainer ended with 1; 3 trainers in a row made no new checkpoint"
    bench.step(seconds=100)
    assert len(bench.launcher.started) == 3


def test_a_run_with_progress_is_restarted_for_ever(bench: Any) -> None:
    run = bench.start()
    for step in range(10):
        bench.step(seconds=10)
        bench.checkpoint(run, step)
        bench.launcher.die("slot-0", 1)
        bench.step()
    bench.step(seconds=10)
    assert len(bench.launcher.started) == 11


def test_a_failed_run_stays_failed_under_the_next_gateway(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.launcher.die("slot-0", 2)
    bench.step()
    bench.restart()
    bench.step(seconds=100)
    assert bench.state(run) == "failed"
    assert "ended with 2" in bench.reason(run)
    assert bench.launcher.started == ["slot-0"]


def test_deaths_are_counted_across_gateways(bench: Any) -> None:
    run = bench.start()
    for _ in range(3):
        bench.step(seconds=10)
        bench.step(seconds=10)
        bench.launcher.die("slot-0", 1)
        bench.restart()
    bench.step()
    assert bench.state(run) == "failed"


@pytest.mark.parametrize("code", sorted(HOPELESS))
def test_a_failure_that_would_repeat_itself_is_not_tried_again(bench: Any, code: str) -> None:
    run = bench.start()
    bench.step()
    failure = {"code": code, "message": "no", "where": "loss", "hint": None}
    bench.report(run, "failed", failure=failure)
    bench.launcher.die("slot-0", 1)
    bench.step()
    assert bench.state(run) == "failed"
    assert bench.reason(run) == "its trainer ended with 1: loss: no; another trainer would meet the same"


def test_a_trainer_that_cannot_be_started_is_a_death_like_any_other(bench: Any) -> None:
    bench.launcher.trouble = FileNotFoundError(2, "No such file", "python")
    run = bench.start()
    bench.step()
    assert bench.state(run) == "restarting"
    assert "cannot be started" in bench.reason(run)
    for _ in range(3):
        bench.step(seconds=10)
    assert bench.state(run) == "failed"


def test_f27_a_wall_clock_that_jumps_ends_no_trainer_and_starts_none_too_early(bench: Any) -> None:
    run = bench.start()
    bench.step()
    for jump in (1e9, -1.5e9, 1e9):  # thirty years forth, fifty back
        bench.epoch += jump
        bench.report(run, "running", beat=int(bench.now))
        bench.step(seconds=1)
        assert bench.state(run) == "running"
    assert bench.launcher.started == ["slot-0"]
    bench.launcher.die("slot-0", -9)
    bench.step()
    bench.epoch += 1e9
    bench.step(seconds=0.9)
    assert bench.state(run) == "restarting"
    bench.epoch -= 1.5e9
    bench.step(seconds=0.2)
    assert bench.launcher.started == ["slot-0", "slot-0"]
    assert bench.fence() == 2


@pytest.mark.parametrize("downtime", [0, 20, 60])
def test_f28_a_trainer_of_a_former_gateway_is_adopted_and_not_started_again(bench: Any, downtime: float) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "running")
    bench.restart()
    bench.step(seconds=downtime)
    assert bench.state(run) == "running"
    assert bench.launcher.started == ["slot-0"]


def test_f29_a_trainer_that_ended_while_there_was_no_gateway_is_settled_by_its_last_word(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "completed", step=100)
    bench.launcher.die("slot-0", None)
    bench.restart()
    bench.step()
    assert bench.state(run) == "completed"
    assert bench.events(run)[-2].details["outcome"] == "completed"


def test_f29_a_trainer_that_vanished_while_there_was_no_gateway_is_started_again(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "running")
    bench.launcher.die("slot-0", None)
    bench.restart()
    bench.step()
    assert bench.reason(run) == "its trainer is gone"
    bench.step(seconds=1.1)
    assert bench.fence() == 2


def test_a_run_stopped_while_it_was_to_be_restarted_is_not_started_again(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.launcher.die("slot-0", 1)
    bench.step()
    bench.control.stop(run)
    bench.step(seconds=100)
    assert bench.state(run) == "stopped"
    assert bench.launcher.started == ["slot-0"]


def test_a_trainer_that_let_go_unasked_is_started_again_but_not_for_ever(bench: Any) -> None:
    run = bench.start()
    for _ in range(3):
        bench.step(seconds=10)
        bench.report(run, "released")
        bench.launcher.die("slot-0", 0)
        bench.step()
    assert bench.state(run) == "failed"


def test_a_trainer_that_was_resumed_while_it_let_go_is_followed_at_once_and_counts_as_no_death(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.control.pause(run)
    bench.report(run, "stopping", generation_seen=1)
    bench.control.resume(run)
    bench.step()
    bench.report(run, "released", generation_seen=1)
    bench.launcher.die("slot-0", 0)
    bench.step()
    assert bench.launcher.started == ["slot-0", "slot-0"]
    assert bench.runs.show(run).restarts == 0
    assert "restarting" not in bench.states(run)


def test_slots_released_at_the_end_of_a_gateway_are_no_deaths(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "running")

    def sleep(_: float) -> None:
        bench.report(run, "released")
        bench.launcher.die("slot-0", 0)

    bench.reconciler.stop_slots(sleep=sleep, poll=0.1)
    assert bench.launcher.stopped == ["slot-0"]
    assert bench.events(run)[-1].details["outcome"] == "released"
    bench.restart()
    bench.step()
    assert bench.state(run) == "starting"
    assert bench.fence() == 2


def test_a_spec_limits_restarts_though_there_is_progress(bench: Any) -> None:
    run = bench.start(max_restarts=2)
    for step in (10, 20, 30):
        bench.step(seconds=10)
        bench.checkpoint(run, step)
        bench.launcher.die("slot-0", 1)
        bench.step()
    assert bench.state(run) == "failed"
    assert bench.reason(run) == "its trainer ended with 1; max_restarts is 2"


def test_a_death_for_want_of_memory_after_a_checkpoint_is_tried_again(bench: Any) -> None:
    run = running(bench)
    bench.launcher.die("slot-0", 137)
    bench.step()
    assert bench.state(run) == "restarting"
    assert "more memory than it may" in bench.reason(run)
    bench.step(seconds=10)
    bench.launcher.die("slot-0", 137)
    bench.step()
    assert bench.state(run) == "failed"
    assert "a batch_size less than 128 needs less" in bench.reason(run)


def test_giving_up_is_not_forgotten_by_a_gateway_that_is_killed_before_it_says_so(bench: Any) -> None:
    run = running(bench)
    bench.launcher.die("slot-0", 2)
    write = bench.journal.write

    def killed(run_id: str, kind: str, message: str, **details: Any) -> None:
        if kind == "gave_up":
            raise KeyboardInterrupt
        write(run_id, kind, message, **details)

    bench.journal.write = killed
    with pytest.raises(KeyboardInterrupt):
        bench.step()
    bench.restart()
    bench.step(seconds=10)
    bench.step(seconds=10)
    assert bench.state(run) == "failed"
    assert bench.launcher.started == ["slot-0"]
