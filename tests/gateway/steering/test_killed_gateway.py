"""A gateway killed at any system call that touches the volume, or around the start of a trainer, loses nothing."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shared import atomic
from shared.errors import NotFoundError

CALLS = ("mkdir", "write", "fsync", "rename", "link", "unlink")


class Killed(BaseException):
    """Nothing of the gateway catches it."""


@contextmanager
def killed_at(number: int, monkeypatch: pytest.MonkeyPatch, bench: Any) -> Iterator[list[int]]:
    """Lets `number` calls through, and none after that, as no call follows a SIGKILL; a write in the middle tears."""
    made = [0]

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            made[0] += 1
            if made[0] > number:
                if name == "write" and made[0] == number + 1:
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise Killed
            return real(*arguments, **named)

        return call

    start = bench.launcher.start
    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(name, getattr(os, name)))
        bench.launcher.start = counted("start", start)
        try:
            yield made
        except Killed:
            pass
        finally:
            bench.launcher.start = start


def cuts() -> range:
    return range(60)


@pytest.mark.parametrize("number", cuts())
def test_f33_cut_while_a_run_is_made_and_started(bench: Any, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fences: list[int] = []
    bench.launcher.on_start = lambda: fences.append(bench.fence())
    with killed_at(number, monkeypatch, bench):
        bench.start()
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


@pytest.mark.parametrize("number", cuts())
def test_cut_while_a_dead_trainer_is_replaced(bench: Any, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fences: list[int] = []
    bench.launcher.on_start = lambda: fences.append(bench.fence())
    run = bench.start()
    bench.step()
    bench.report(run, "running")
    bench.launcher.die("slot-0", -9)
    with killed_at(number, monkeypatch, bench):
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
def test_cut_while_a_run_is_stopped(bench: Any, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    run = bench.start()
    bench.step()
    bench.report(run, "running")
    with killed_at(number, monkeypatch, bench):
        bench.control.stop(run)
    bench.restart()
    bench.step()
    assert bench.state(run) in {"running", "stopping"}
    bench.control.stop(run)
    assert bench.state(run) == "stopping"


def test_the_cuts_reach_past_the_last_call(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with killed_at(len(cuts()) - 1, monkeypatch, bench) as made:
        bench.start()
        bench.step()
    assert 20 < made[0] < len(cuts())


def test_a_run_that_was_never_made_is_not_found(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with killed_at(3, monkeypatch, bench):
        bench.start()
    bench.restart()
    assert bench.runs.awake() == []
    with pytest.raises(NotFoundError):
        bench.runs.show("20260301-101501-tiny-0000")
