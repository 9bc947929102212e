"""What may be asked of a run, and what becomes of it."""

from typing import Any

import pytest

from services.gateway.index import Run
from services.gateway.steering.transitions import TRANSITIONS, allowed
from shared.errors import ConflictError
from shared.layout import RunFolder
from shared.records import Desired, read_record
from shared.spec import RunSpec
from shared.states import STATES
from tests.gateway.steering.ways import WAYS


def desired(bench: Any, run: str) -> Desired:
    return read_record(bench.folder(run).desired, Desired)


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
    bench.woken = 0
    ask(bench, transition, run)
    assert desired(bench, run).generation == generation + 1
    event = next(each for each in reversed(bench.events(run)) if each.kind == "desired")
    assert (event.time, event.details["generation"]) == (bench.epoch, generation + 1)
    word = "resume" if transition == "extend" else transition
    assert event.message.startswith(f"{word} ")
    assert bench.woken == 1


@pytest.mark.parametrize("state", STATES)
def test_a_fork_needs_a_checkpoint(tmp_path: Any, state: Any) -> None:
    run = Run(folder=RunFolder(tmp_path), spec=RunSpec(), created=0.0)
    assert "fork" not in allowed(run, state, alive=False)
