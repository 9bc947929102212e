"""Which run a slot has, whoever else started something in it, and what cannot be seen in any slot."""

from typing import Any

from shared.records import Assignment, write_record


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
