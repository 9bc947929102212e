"""What may be asked of a run, and what becomes of it."""

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from services.gateway.index import Run
from services.gateway.steering.transitions import TRANSITIONS, allowed
from shared.errors import ConflictError, NotFoundError, SpecError
from shared.layout import RunFolder
from shared.locks import exports_lock
from shared.records import Alias, Aliases, Desired, Move, Tags, read_record, write_record
from shared.spec import RunSpec, parse_spec
from shared.states import STATES


def desired(bench: Any, run: str) -> Desired:
    return read_record(bench.folder(run).desired, Desired)


def queued(bench: Any) -> str:
    return str(bench.start())


def starting(bench: Any) -> str:
    run = bench.start()
    bench.step()
    return str(run)


def running(bench: Any) -> str:
    run = starting(bench)
    bench.report(run, "running")
    bench.checkpoint(run, 10)
    bench.step()
    return run


def leave(bench: Any, run: str, phase: str, **report: Any) -> str:
    """Its trainer says how it ends, and goes."""
    bench.report(run, phase, **report)
    bench.launcher.die("slot-0", 0)
    bench.step()
    return run


def evaluating(bench: Any) -> str:
    run = str(bench.start(sharing={"kind": "alternate", "every_steps": 10}))
    bench.step()
    bench.checkpoint(run, 10)
    return leave(bench, run, "yielded")


def restarting(bench: Any) -> str:
    run = running(bench)
    bench.launcher.die("slot-0", 1)
    bench.step()
    return run


def pausing(bench: Any) -> str:
    run = running(bench)
    bench.control.pause(run)
    return run


def paused(bench: Any) -> str:
    return leave(bench, pausing(bench), "released")


def stopping(bench: Any) -> str:
    run = running(bench)
    bench.control.stop(run)
    return run


def stopped(bench: Any) -> str:
    return leave(bench, stopping(bench), "stopped")


def completed(bench: Any) -> str:
    return leave(bench, running(bench), "completed", step=100)


def failed(bench: Any) -> str:
    run = running(bench)
    bench.launcher.die("slot-0", 2)
    bench.step()
    return run


WAYS: dict[str, Callable[[Any], str]] = {
    each.__name__: each
    for each in (
        *(queued, starting, running, evaluating, restarting, pausing, paused, stopping, stopped, completed, failed),
    )
}
ALLOWED = {
    "queued": "pause extend stop kill",
    "starting": "pause extend stop kill",
    "running": "pause extend stop kill fork",
    "evaluating": "pause extend stop kill fork",
    "restarting": "pause extend stop kill fork",
    "pausing": "pause resume extend stop kill fork",
    "paused": "resume extend stop kill fork",
    "stopping": "kill fork",
    "stopped": "restart fork delete",
    "completed": "extend fork delete",
    "failed": "restart fork delete",
}
HARMLESS = {  # asking for what is so already
    *(("pause", "paused"), ("stop", "stopping"), ("stop", "stopped"), ("kill", "stopped")),
    *(("resume", each) for each in ("queued", "starting", "running", "evaluating", "restarting")),
    *(("restart", each) for each in ("queued", "starting", "running", "evaluating", "restarting")),
}


def ask(bench: Any, transition: str, run: str) -> None:
    if transition == "extend":
        bench.control.resume(run, steps=200)
    elif transition != "fork":
        getattr(bench.control, transition)(run)


@pytest.mark.parametrize("state", STATES)
def test_a_run_allows_what_it_says_and_refuses_all_else_by_name(bench: Any, state: str) -> None:
    run = WAYS[state](bench)
    now = bench.runs.show(run)
    assert now.state.state == state
    assert " ".join(now.allowed) == ALLOWED[state]
    before = bench.events(run)
    for transition in (each for each in TRANSITIONS if each != "fork" and each not in now.allowed):
        if (transition, state) in HARMLESS:
            ask(bench, transition, run)
        else:
            with pytest.raises(ConflictError, match=rf"{state} and cannot be \w+.*Allowed now: {now.allowed[0]}"):
                ask(bench, transition, run)
    assert bench.events(run) == before


@pytest.mark.parametrize(
    ("transition", "state"),
    [(each, state) for state in STATES for each in ALLOWED[state].split() if each not in {"fork", "delete"}],
)
def test_what_is_allowed_is_done_and_written_down_with_time_and_reason(bench: Any, transition: str, state: str) -> None:
    run = WAYS[state](bench)
    generation = desired(bench, run).generation
    bench.epoch += 5
    ask(bench, transition, run)
    assert desired(bench, run).generation == generation + 1
    event = next(each for each in reversed(bench.events(run)) if each.kind == "desired")
    assert (event.time, event.details["generation"]) == (bench.epoch, generation + 1)
    word = "resume" if transition == "extend" else transition
    assert event.message.startswith(f"{word} ")
    assert bench.woken > 0


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


def test_a_deleted_run_is_gone_with_its_files_and_its_name_can_be_used_no_more(bench: Any) -> None:
    run = stopped(bench)
    bench.control.delete(run)
    assert list(bench.volume.runs.iterdir()) == []
    with pytest.raises(NotFoundError):
        bench.runs.show(run)
    bench.step()
    assert bench.runs.awake() == []


def test_a_run_that_an_alias_was_set_to_by_hand_is_not_deleted(bench: Any) -> None:
    run = stopped(bench)
    move = Move(step=300, precision_at_1=0.5, reason="", time=0)
    aliases = {"best": Alias(moves=(move,)), "stable": Alias(moves=(move,))}
    write_record(bench.folder(run).aliases, Aliases(aliases=aliases))
    export(bench, run, 300)
    with pytest.raises(ConflictError, match="point at it: stable at step 300"):
        bench.control.delete(run)
    write_record(bench.folder(run).aliases, Aliases(aliases={"best": Alias(moves=(move,))}))
    bench.control.delete(run)


def export(bench: Any, run: str, step: int) -> None:
    folder = bench.folder(run).export(step)
    folder.mkdir(parents=True)
    (folder / "manifest.json").touch()


def test_an_alias_whose_export_is_not_there_keeps_no_run(bench: Any) -> None:
    run = stopped(bench)
    move = Move(step=300, precision_at_1=0.5, reason="", time=0)
    write_record(bench.folder(run).aliases, Aliases(aliases={"stable": Alias(moves=(move,))}))
    bench.control.delete(run)
    assert not bench.folder(run).root.exists()


def test_a_run_of_which_an_alias_is_being_set_in_this_moment_is_not_deleted(bench: Any) -> None:
    run = stopped(bench)
    export(bench, run, 300)
    refused: list[ConflictError] = []

    def delete() -> None:
        try:
            bench.control.delete(run)
        except ConflictError as error:
            refused.append(error)

    thread = threading.Thread(target=delete)
    with exports_lock(bench.folder(run)):  # as the one who sets it
        thread.start()
        thread.join(0.1)
        assert thread.is_alive(), "it waits"
        assert bench.state(run) == "stopped", "and holds nobody up who asks for something else"
        move = Move(step=300, precision_at_1=0.5, reason="", time=0)
        write_record(bench.folder(run).aliases, Aliases(aliases={"stable": Alias(moves=(move,))}))
    thread.join(10)
    assert "stable at step 300" in str(refused[0])
    assert bench.folder(run).spec.exists()


def test_a_run_that_two_delete_at_once_is_deleted_once(bench: Any) -> None:
    run = stopped(bench)
    outcomes: list[str] = []

    def delete() -> None:
        try:
            bench.control.delete(run)
            outcomes.append("deleted")
        except NotFoundError:
            outcomes.append("not found")

    threads = [threading.Thread(target=delete) for _ in range(2)]
    with exports_lock(bench.folder(run)):
        for thread in threads:
            thread.start()
        threads[0].join(0.1)
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["deleted", "not found"]
    assert list(bench.volume.runs.iterdir()) == []


def test_a_run_is_deleted_on_a_disk_that_is_too_full_for_the_lock(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stopped(bench)
    mkdir = os.mkdir

    def full(path: Any, *arguments: Any, **named: Any) -> None:
        if str(path).endswith("exports"):
            raise OSError(28, "No space left on device")
        mkdir(path, *arguments, **named)

    monkeypatch.setattr(os, "mkdir", full)
    bench.control.delete(run)
    assert not bench.folder(run).root.exists()


def test_a_run_whose_trainer_is_still_there_is_not_deleted(bench: Any) -> None:
    run = running(bench)
    bench.report(run, "completed", step=100)
    assert bench.state(run) == "completed"
    with pytest.raises(ConflictError, match="cannot be deleted"):
        bench.control.delete(run)


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


def test_what_was_asked_for_and_not_written_down_before_a_kill_is_written_down_later(bench: Any) -> None:
    run = running(bench)
    before = desired(bench, run)
    record = before.model_copy(update={"generation": 1, "state": "paused", "reason": "lunch"})
    bench.write_json(bench.folder(run).desired, record.model_dump())
    bench.restart()
    bench.step()
    bench.step()
    told = [each for each in bench.events(run) if each.kind == "desired"]
    assert [(each.message, each.details["state"]) for each in told] == [("lunch", "paused")]


@pytest.mark.parametrize("state", STATES)
def test_a_fork_needs_a_checkpoint(tmp_path: Any, state: Any) -> None:
    run = Run(folder=RunFolder(tmp_path), spec=RunSpec(), created=0.0)
    assert "fork" not in allowed(run, state, alive=False)


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


def test_the_number_of_divergences_and_rules_are_checked_in_a_spec() -> None:
    spec = parse_spec({"on_divergence": "rollback", "until": {"ema_precision": 0.87}}, source="x")
    assert (spec.on_divergence.action, spec.on_divergence.rate_factor, spec.until.ema_precision) == (
        *("rollback", 0.5, 0.87),
    )
    with pytest.raises(SpecError, match=r"until\.ema_precision"):
        parse_spec({"until": {"ema_precision": 87}}, source="x")


def test_what_was_asked_before_a_kill_is_written_down_before_what_is_asked_next(bench: Any) -> None:
    run = running(bench)
    record = desired(bench, run).model_copy(update={"generation": 1, "state": "paused", "reason": "lunch"})
    bench.write_json(bench.folder(run).desired, record.model_dump())
    bench.restart()
    bench.slots.look()
    bench.control.resume(run, reason="back")
    told = [each.message for each in bench.events(run) if each.kind == "desired"]
    assert told == ["lunch", "back"]
