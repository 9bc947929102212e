"""What becomes of what is asked of a run, over trainers and gateways."""

from typing import Any

import pytest

from shared.errors import ConflictError, SpecError
from shared.records import Desired, Tags, read_record
from tests.gateway.steering.ways import completed, failed, paused, running, stopping


def desired(bench: Any, run: str) -> Desired:
    return read_record(bench.folder(run).desired, Desired)


def test_a_reason_that_was_given_is_the_events(bench: Any) -> None:
    run = running(bench)
    bench.control.pause(run, reason="the GPU is needed for a demonstration")
    assert bench.events(run)[-1].message == "the GPU is needed for a demonstration"
    assert bench.reason(run) == "the GPU is needed for a demonstration; its trainer comes to a halt"


def test_a_held_run_keeps_its_slot_and_goes_on_in_it_at_once(bench: Any) -> None:
    run = running(bench)
    bench.control.pause(run, kind="hold")
    assert desired(bench, run).pause == "hold"
    bench.report(run, "holding")
    bench.step()
    assert (bench.state(run), bench.runs.show(run).slot) == ("paused", "slot-0")
    bench.control.resume(run)
    bench.report(run, "running")
    assert bench.state(run) == "running"
    assert bench.launcher.started == ["slot-0"]


def test_a_held_run_can_be_made_to_let_go(bench: Any) -> None:
    run = running(bench)
    bench.control.pause(run, kind="hold")
    bench.report(run, "holding")
    bench.control.pause(run, kind="release")
    assert desired(bench, run).pause == "release"


def test_a_released_run_frees_its_slot_and_queues_again_when_resumed(bench: Any) -> None:
    run = paused(bench)
    other = bench.start()
    bench.step()
    assert bench.assignment().run == other
    bench.control.resume(run)
    assert bench.state(run) == "queued"


def test_a_killed_run_is_ended_at_once_and_counts_as_no_death(bench: Any) -> None:
    run = running(bench)
    bench.control.kill(run)
    assert (desired(bench, run).kill, bench.state(run)) == (True, "stopping")
    bench.step()
    assert bench.launcher.alive == {}
    bench.step()
    assert bench.state(run) == "stopped"
    assert bench.reason(run) == "kill was asked for; at step 10 of 100"
    ended = next(each for each in bench.events(run) if each.kind == "ended")
    assert ended.details["outcome"] == "killed"
    assert bench.runs.show(run).restarts == 0


def test_a_run_that_is_stopping_can_still_be_killed(bench: Any) -> None:
    run = stopping(bench)
    bench.step()
    assert bench.launcher.alive != {}
    bench.control.kill(run)
    bench.step()
    assert bench.launcher.alive == {}


def test_a_failed_run_that_is_restarted_has_a_new_budget(bench: Any) -> None:
    run = failed(bench)
    bench.control.restart(run)
    assert bench.state(run) == "queued"
    for _ in range(2):
        bench.step(seconds=10)
        bench.launcher.die("slot-0", 1)
        bench.step()
        assert bench.state(run) == "restarting"
    bench.step(seconds=10)
    bench.launcher.die("slot-0", 1)
    bench.step()
    assert bench.state(run) == "failed"


def test_a_restarted_run_stays_so_under_the_next_gateway(bench: Any) -> None:
    run = failed(bench)
    bench.control.restart(run)
    bench.restart()
    bench.step()
    assert bench.state(run) == "starting"


def test_a_completed_run_goes_on_when_it_is_extended(bench: Any) -> None:
    run = completed(bench)
    bench.control.resume(run, steps=150)
    now = bench.runs.show(run)
    assert (now.state.state, now.run.steps, now.run.spec.steps) == ("queued", 150, 100)
    bench.step()
    assert bench.state(run) == "starting"
    bench.report(run, "completed", step=150, steps=150)
    assert bench.state(run) == "completed"
    assert bench.reason(run) == "all 150 steps are made"


def test_a_run_is_never_made_shorter(bench: Any) -> None:
    run = running(bench)
    with pytest.raises(SpecError, match="longer, not shorter: it is to make 100 steps, not 50"):
        bench.control.resume(run, steps=50)


def test_a_run_whose_rate_depends_on_its_steps_is_not_extended(bench: Any) -> None:
    run = bench.start(learning_rate={"kind": "cosine"})
    assert "extend" not in bench.runs.show(run).allowed
    with pytest.raises(ConflictError, match="course depends on the number of steps"):
        bench.control.resume(run, steps=200)


def test_resuming_by_another_specification_is_refused_with_the_difference(bench: Any) -> None:
    run = paused(bench)
    with pytest.raises(ConflictError, match=r"batch_size: was 128, is 64.*Fork"):
        bench.control.resume(run, changes={"batch_size": 64})
    bench.control.resume(run, changes={"batch_size": 128})
    assert bench.state(run) == "queued"


def test_priority_decides_who_goes_first_and_age_among_equals(bench: Any) -> None:
    first, second, third = bench.start(), bench.start(), bench.start()
    bench.control.tag(third, priority=5, labels=None)
    assert [bench.runs.show(each).position for each in (first, second, third)] == [2, 3, 1]
    bench.step()
    assert bench.assignment().run == third
    assert [bench.runs.show(each).position for each in (first, second, third)] == [1, 2, None]


def test_labels_are_laid_over_the_specs_and_null_takes_one_away(bench: Any) -> None:
    run = bench.start(labels={"who": "me", "what": "test"})
    bench.control.tag(run, priority=None, labels={"what": None, "when": "now"})
    assert bench.runs.show(run).run.labels == {"who": "me", "when": "now"}
    assert bench.runs.show(run).run.spec.labels == {"who": "me", "what": "test"}
    assert read_record(bench.folder(run).tags, Tags).labels == {"what": None, "when": "now"}
    bench.restart()
    assert bench.runs.show(run).run.labels == {"who": "me", "when": "now"}


def test_the_time_at_work_adds_up_over_trainers_and_has_its_price(bench: Any) -> None:
    run = running(bench)
    bench.epoch += 60
    bench.launcher.die("slot-0", 1)
    bench.step()
    bench.epoch += 1000
    bench.step(seconds=5)
    bench.epoch += 30
    assert bench.runs.show(run).seconds == 90
    assert bench.runs.show(run).cost == pytest.approx(90 / 3600 * 2.0)


@pytest.fixture
def untold(bench: Any) -> str:
    """A run whose pause was asked for; the gateway was killed before it wrote that down."""
    run = running(bench)
    record = desired(bench, run).model_copy(update={"generation": 1, "state": "paused", "reason": "lunch"})
    bench.write_json(bench.folder(run).desired, record.model_dump())
    bench.restart()
    return run


def told(bench: Any, run: str) -> list[tuple[str, str]]:
    return [(each.message, each.details["state"]) for each in bench.events(run) if each.kind == "desired"]


def test_what_was_asked_for_and_not_written_down_before_a_kill_is_written_down_later(bench: Any, untold: str) -> None:
    bench.step()
    bench.step()
    assert told(bench, untold) == [("lunch", "paused")]


def test_what_was_asked_before_a_kill_is_written_down_before_what_is_asked_next(bench: Any, untold: str) -> None:
    bench.slots.look()
    bench.control.resume(untold, reason="back")
    assert told(bench, untold) == [("lunch", "paused"), ("back", "running")]
