from typing import Any

import pytest

from shared.records import Desired, write_record


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


def test_a_run_that_is_to_go_on_keeps_its_slot_from_younger_ones(bench: Any) -> None:
    run = bench.start()
    bench.step()
    younger = bench.start()
    bench.launcher.die("slot-0", 1)
    bench.step()
    assert bench.state(younger) == "queued"
    bench.step(seconds=1.1)
    assert bench.assignment().run == run


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


def test_a_run_that_makes_its_last_step_is_never_said_to_restart(bench: Any) -> None:
    run = bench.start()
    bench.step()
    for phase, step in (("running", 90), ("stopping", 100), ("completed", 100)):
        bench.report(run, phase, step=step)
        bench.step()
    bench.launcher.die("slot-0", 0)
    bench.step()
    assert bench.states(run) == ["starting", "running", "completed"]


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
