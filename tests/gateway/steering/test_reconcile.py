from typing import Any

import pytest

from services.gateway.steering.endings import HOPELESS
from shared.records import Assignment, Desired, read_record, write_record


def test_a_queued_run_gets_the_free_slot_and_a_trainer(bench: Any) -> None:
    run = bench.start()
    assert bench.state(run) == "queued"
    bench.step()
    assert bench.launcher.started == ["slot-0"]
    assert (bench.assignment().run, bench.fence()) == (run, 1)
    assert bench.state(run) == "starting"


def test_starting_a_run_wakes_the_loop(bench: Any) -> None:
    bench.start()
    assert bench.woken == 1


def test_the_oldest_run_goes_first_and_the_others_wait(bench: Any) -> None:
    first, second = bench.start(name="z"), bench.start(name="a")
    bench.step()
    bench.step()
    assert bench.assignment().run == first
    assert bench.state(second) == "queued"


def test_every_slot_is_filled(bench: Any) -> None:
    bench.launcher.names = ["slot-0", "slot-1"]
    first, second, third = bench.start(), bench.start(), bench.start()
    bench.step()
    assert bench.assignment("slot-0").run == first
    assert bench.assignment("slot-1").run == second
    assert bench.state(third) == "queued"


def test_a_run_that_is_still_being_copied_is_not_started_and_holds_nobody_up(bench: Any) -> None:
    copied, other = bench.start(), bench.start()
    bench.copied = {copied}
    bench.launcher.names = ["slot-0", "slot-1"]
    bench.step()
    assert bench.assignment("slot-0").run == other
    assert (bench.state(copied), bench.launcher.started) == ("queued", ["slot-0"])
    bench.copied = set()
    bench.step()
    assert bench.assignment("slot-1").run == copied


def test_a_slot_of_an_earlier_configuration_gets_no_new_run(bench: Any) -> None:
    bench.launcher.retired = {"slot-0"}
    bench.start()
    bench.step()
    assert bench.launcher.started == []


def test_a_completed_run_makes_room_for_the_next(bench: Any) -> None:
    first, second = bench.start(), bench.start()
    bench.step()
    bench.report(first, "completed", step=100)
    bench.launcher.die("slot-0", 0)
    bench.step()
    assert bench.state(first) == "completed"
    assert bench.assignment().run == second
    assert bench.kinds(first) == ["created", "assigned", "spawned", "ended"]


def test_states_are_written_down_with_their_reason(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "running")
    bench.step()
    bench.report(run, "completed", step=100)
    bench.step()
    bench.step()
    assert bench.states(run) == ["starting", "running", "completed"]
    assert all(event.message for event in bench.events(run))


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


def test_a_run_that_is_to_go_on_keeps_its_slot_from_younger_ones(bench: Any) -> None:
    run = bench.start()
    bench.step()
    younger = bench.start()
    bench.launcher.die("slot-0", 1)
    bench.step()
    assert bench.state(younger) == "queued"
    bench.step(seconds=1.1)
    assert bench.assignment().run == run


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


def test_a_stopped_run_ends_and_frees_its_slot(bench: Any) -> None:
    run, other = bench.start(), bench.start()
    bench.step()
    bench.report(run, "running")
    bench.control.stop(run)
    bench.step()
    assert bench.state(run) == "stopping"
    bench.report(run, "stopped")
    bench.launcher.die("slot-0", 0)
    bench.step()
    assert bench.state(run) == "stopped"
    assert bench.assignment().run == other


def test_a_run_stopped_while_it_was_to_be_restarted_is_not_started_again(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.launcher.die("slot-0", 1)
    bench.step()
    bench.control.stop(run)
    bench.step(seconds=100)
    assert bench.state(run) == "stopped"
    assert bench.launcher.started == ["slot-0"]


def test_a_trainer_that_does_not_stop_by_itself_is_signalled_after_the_grace(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "running")
    bench.control.stop(run)
    bench.step()
    bench.step(seconds=59)
    assert bench.launcher.stopped == []
    bench.step(seconds=2)
    assert bench.launcher.stopped == ["slot-0"]


def test_a_completed_trainer_that_does_not_end_is_signalled_too(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "completed", step=100)
    bench.step()
    bench.step(seconds=61)
    assert bench.launcher.stopped == ["slot-0"]


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


def test_a_run_that_makes_its_last_step_is_never_said_to_restart(bench: Any) -> None:
    run = bench.start()
    bench.step()
    for phase, step in (("running", 90), ("stopping", 100), ("completed", 100)):
        bench.report(run, phase, step=step)
        bench.step()
    bench.launcher.die("slot-0", 0)
    bench.step()
    assert bench.states(run) == ["starting", "running", "completed"]


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


def test_the_fence_is_greater_than_any_that_the_volume_shows(bench: Any) -> None:
    run = bench.start()
    bench.write_json(bench.folder(run).fence, {"fence": 41})
    bench.step()
    assert bench.fence() == 42


def test_a_run_that_changed_its_slot_is_looked_for_in_the_newer_one(bench: Any) -> None:
    bench.launcher.names = ["slot-0", "slot-1"]
    run = bench.start()
    bench.step()
    bench.reconciler.stop_slots(sleep=lambda _: bench.launcher.die("slot-0", None), poll=0.1)
    write_record(bench.volume.slot("slot-1").assignment, Assignment(run=run, fence=9, time=0))
    bench.launcher.alive["slot-1"] = 5
    bench.restart()
    bench.step()
    bench.report(run, "running", slot="slot-1", fence=9)
    assert bench.runs.show(run).slot == "slot-1"
    assert bench.state(run) == "running"
    assert bench.launcher.started == ["slot-0"]


def test_f16_a_run_trained_by_hand_is_watched_by_its_heartbeat_and_never_started(bench: Any) -> None:
    folder = bench.folder("by-hand")
    run = bench.start()
    folder.root.mkdir()
    folder.spec.write_bytes(bench.folder(run).spec.read_bytes())
    bench.report("by-hand", "running", fence=1, slot="hand")
    bench.step()
    assert bench.state("by-hand") == "running"
    bench.report("by-hand", "running", fence=1, slot="hand", beat=2)
    bench.step(seconds=29)
    assert bench.state("by-hand") == "running"
    bench.step(seconds=31)
    assert bench.state("by-hand") == "failed"
    assert bench.assignment().run == run


def test_a_managed_run_that_somebody_trains_by_hand_is_left_to_them(bench: Any) -> None:
    bench.launcher.names = []
    run = bench.start()
    bench.report(run, "running", fence=1, slot="hand")
    bench.launcher.names = ["slot-0"]
    bench.step()
    assert bench.state(run) == "running"
    assert bench.launcher.started == []


def test_an_unreadable_assignment_breaks_its_slot_alone(bench: Any) -> None:
    bench.launcher.names = ["slot-0", "slot-1"]
    bench.write_json(bench.volume.slot("slot-0").assignment, {"schema_version": 99})
    run = bench.start()
    bench.step()
    assert bench.assignment("slot-1").run == run
    assert "schema version 99" in bench.slots.now[0].problem


def test_a_run_removed_from_the_volume_frees_its_slot(bench: Any) -> None:
    run = bench.start()
    bench.step()
    bench.launcher.die("slot-0", None)
    bench.folder(run).spec.unlink()
    other = bench.start()
    bench.step()
    assert bench.assignment().run == other


def test_a_paused_run_waits_without_a_slot(bench: Any) -> None:
    run = bench.start()
    desired = Desired(generation=1, state="paused", reason="lunch", time=0)
    write_record(bench.folder(run).desired, desired)
    bench.step()
    assert bench.state(run) == "paused"
    assert bench.launcher.started == []


def test_states_are_counted_and_old_settled_runs_make_no_series_of_their_own(bench: Any) -> None:
    run = bench.start()
    bench.step()
    sample = bench.registry.get_sample_value
    assert sample("tandem_run_state", {"run": run, "state": "starting"}) == 1
    bench.report(run, "completed", step=100)
    bench.step()
    assert sample("tandem_run_state", {"run": run, "state": "starting"}) is None
    assert sample("tandem_run_state", {"run": run, "state": "completed"}) == 1
    assert sample("tandem_runs", {"state": "completed"}) == 1


def test_a_stop_raises_the_generation(bench: Any) -> None:
    run = bench.start()
    bench.control.stop(run, reason="enough")
    desired = read_record(bench.folder(run).desired, Desired)
    assert (desired.generation, desired.state, desired.reason) == (1, "stopped", "enough")


def test_a_run_that_another_slot_gets_is_not_started_again_in_the_one_that_it_had(bench: Any) -> None:
    bench.launcher.names = ["slot-0", "slot-1"]
    first, second = bench.start(), bench.start()
    bench.step()
    bench.report(first, "completed", step=100)
    bench.report(second, "completed", step=100, slot="slot-1")
    for slot in ("slot-0", "slot-1"):
        bench.launcher.die(slot, 0)
    bench.control.resume(second, steps=200)
    bench.step()
    bench.step()
    assert bench.launcher.started == ["slot-0", "slot-1", "slot-0"]
    assert (bench.assignment().run, bench.fence()) == (second, 2)


def test_a_trainer_that_others_start_under_a_number_that_has_ended_is_sent_away_and_changes_nothing(bench: Any) -> None:
    """As Compose does at `up`, whose containers find the assignments of before."""
    run = bench.start(max_restarts=0)
    bench.step()
    bench.report(run, "running")
    bench.launcher.die("slot-0", 1)
    bench.step()
    assert bench.state(run) == "failed"
    told = bench.states(run)
    bench.launcher.alive["slot-0"] = 4711
    bench.report(run, "running", step=20)
    for _ in range(2):
        bench.step()
        assert bench.state(run) == "failed"
    assert bench.launcher.stopped[:1] == ["slot-0"]
    bench.launcher.die("slot-0", 0)
    other = bench.start()
    bench.step()
    assert bench.assignment().run == other
    assert bench.states(run) == told


def test_a_run_that_waits_is_not_taken_for_one_that_trains_because_its_old_slot_was_started(bench: Any) -> None:
    run, other = bench.start(), bench.start()
    bench.step()
    bench.control.pause(run)
    bench.report(run, "released", generation_seen=1)
    bench.launcher.die("slot-0", 0)
    bench.launcher.names = ["slot-1", "slot-0"]
    bench.step()
    assert bench.assignment("slot-1").run == other
    bench.launcher.alive["slot-0"] = 4711
    bench.report(run, "starting")
    bench.control.resume(run)
    bench.step()
    assert bench.state(run) == "queued"
    assert bench.launcher.stopped == ["slot-0"]
    bench.launcher.die("slot-0", 0)
    bench.step()
    assert (bench.assignment().run, bench.fence()) == (run, 2)


def test_what_is_logged_about_a_run_names_it_so_that_it_is_among_the_runs_lines(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = bench.start(max_restarts=0)
    bench.step()
    bench.launcher.die("slot-0", 1)
    bench.step()
    assert bench.state(run) == "failed"
    bench.control.delete(run)
    about = [record for record in caplog.records if run in record.getMessage()]
    assert about
    assert {getattr(record, "run", None) for record in about} == {run}
