"""A gateway killed at any system call that touches the volume, or around the start of a trainer, loses nothing."""

from typing import Any

import pytest

from services.gateway.steering.making import Key
from shared import atomic
from shared.errors import NotFoundError
from tests.gateway.steering.killing import killed_at


def cuts() -> range:
    return range(60)


@pytest.mark.parametrize("number", cuts())
def test_f33_cut_while_a_run_is_made_and_started(bench: Any, number: int) -> None:
    fences: list[int] = []
    bench.launcher.on_start = lambda: fences.append(bench.fence())

    def ask() -> str:
        key = Key(text="k-1", body_sha256="0" * 64)
        return str(bench.starter.start(recipe="tiny", changes={}, key=key).run.id)

    with killed_at(number, bench.launcher):
        ask()
        bench.step()
    bench.restart()
    atomic.sweep(bench.volume.runs)
    for _ in range(3):
        bench.step(seconds=10)
    runs = bench.runs.awake()
    assert bench.runs.problems() == {}
    left = sorted(path.name for path in bench.volume.runs.iterdir()) if bench.volume.runs.exists() else []
    assert left == [each.run.id for each in runs]
    if runs:
        assert [each.state.state for each in runs] == ["starting"]
        assert bench.launcher.started == ["slot-0"]
        assert len(fences) == 1
    again = ask()  # as a client does that got no answer
    for _ in range(3):
        bench.step(seconds=10)
    assert [path.name for path in bench.volume.runs.iterdir()] == [again]
    assert [each.run.id for each in runs] in ([], [again])
    assert bench.launcher.started == ["slot-0"]


@pytest.mark.parametrize("number", cuts())
def test_cut_while_a_dead_trainer_is_replaced(bench: Any, number: int) -> None:
    fences: list[int] = []
    bench.launcher.on_start = lambda: fences.append(bench.fence())
    run = bench.start()
    bench.step()
    bench.report(run, "running")
    bench.launcher.die("slot-0", -9)
    with killed_at(number, bench.launcher):
        bench.step()
        bench.step(seconds=10)
    bench.restart()
    for _ in range(3):
        bench.step(seconds=10)
    assert bench.state(run) == "starting"
    assert bench.launcher.started == ["slot-0", "slot-0"]
    assert fences[0] < fences[1]
    ended = [event for event in bench.events(run) if event.kind == "ended"]
    assert [event.details["fence"] for event in ended] == [1]


@pytest.mark.parametrize("number", range(12))
def test_cut_while_a_run_is_stopped(bench: Any, number: int) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "running")
    with killed_at(number, bench.launcher):
        bench.control.stop(run)
    bench.restart()
    bench.step()
    assert bench.state(run) in {"running", "stopping"}
    bench.control.stop(run)
    assert bench.state(run) == "stopping"


def test_the_cuts_reach_past_the_last_call(bench: Any) -> None:
    with killed_at(len(cuts()) - 1, bench.launcher) as made:
        bench.start()
        bench.step()
    assert 20 < made[0] < len(cuts())


def test_a_run_that_was_never_made_is_not_found(bench: Any) -> None:
    with killed_at(3, bench.launcher):
        bench.start()
    bench.restart()
    assert bench.runs.awake() == []
    with pytest.raises(NotFoundError):
        bench.runs.show("20260301-101501-tiny-0000")
