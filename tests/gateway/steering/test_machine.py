"""Anything may be asked at any time, trainers may end in any way, and gateways be killed at any call: nothing is lost.

A rule-based machine drives the real run control and the real reconcile loop over a real folder; only the trainers are
made up. A killed gateway's successor is a new set of parts over the same folder.
"""

import contextlib
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.gateway.steering.transitions import TRANSITIONS
from shared import atomic
from shared.errors import ConflictError, NotFoundError
from shared.records import Desired, read_record
from shared.states import STATES
from tests.gateway.steering.killing import killed_at


def machine(make_bench: Callable[[Path], Any], *, awake: int) -> type[RuleBasedStateMachine]:
    class Gateways(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.folder = tempfile.TemporaryDirectory()
            self.bench = make_bench(Path(self.folder.name))
            self.bench.launcher.names = ["slot-0", "slot-1"]
            self.bench.awake = awake
            self.bench.restart()
            self.deleted: set[str] = set()
            self.made: list[str] = []
            self.working: dict[str, str] = {}
            self.really_start = self.bench.launcher.start
            self.bench.launcher.start = self.begin

        def teardown(self) -> None:
            self.folder.cleanup()

        def begin(self, slot: str) -> Any:
            """Starts a trainer, which reads its assignment then and never again."""
            pid = self.really_start(slot)
            self.working[slot] = self.bench.assignment(slot).run
            return pid

        @initialize()
        def begin_with_some(self) -> None:
            for priority in (0, 1, 0):
                self.start(priority)

        @precondition(lambda self: len(self.made) < 6)
        @rule(priority=st.integers(-1, 1))
        def start(self, priority: int) -> None:
            self.bench.epoch += 1
            self.made.append(self.bench.starter.start(recipe="tiny", changes={}, priority=priority).run.id)

        @rule(
            number=st.integers(0, 5),
            asked=st.sampled_from([each for each in TRANSITIONS if each not in {"fork", "extend"}]),
        )
        def ask(self, number: int, asked: str) -> None:
            run = self.made[number % len(self.made)]
            if run in self.deleted:
                with pytest.raises(NotFoundError):
                    self.bench.runs.show(run)
                return
            allowed = self.bench.runs.show(run).allowed
            try:
                getattr(self.bench.control, asked)(run)
            except ConflictError as error:
                assert asked not in allowed
                assert "Allowed now" in (error.hint or "")
            else:
                if asked == "delete":
                    self.deleted.add(run)

        @rule(number=st.integers(0, 5), more=st.integers(1, 50))
        def extend(self, number: int, more: int) -> None:
            run = self.made[number % len(self.made)]
            if run not in self.deleted and "extend" in (now := self.bench.runs.show(run)).allowed:
                self.bench.control.resume(run, steps=now.run.steps + more)
                assert self.bench.runs.show(run).run.steps == now.run.steps + more

        @rule(seconds=st.sampled_from([0, 0.5, 5]))
        def step(self, seconds: float) -> None:
            self.bench.epoch += seconds
            self.bench.step(seconds=seconds)

        @rule(calls=st.integers(0, 40))
        def kill_gateway_in_a_step(self, calls: int) -> None:
            with killed_at(calls):
                self.bench.step()
            self.next_gateway()

        @rule(
            number=st.integers(0, 5),
            asked=st.sampled_from(["pause", "resume", "stop", "kill", "restart"]),
            calls=st.integers(0, 6),
        )
        def kill_gateway_while_it_is_asked(self, number: int, asked: str, calls: int) -> None:
            run = self.made[number % len(self.made)]
            if run not in self.deleted:
                with killed_at(calls), contextlib.suppress(ConflictError):
                    getattr(self.bench.control, asked)(run)
                self.next_gateway()

        @rule()
        def next_gateway(self) -> None:
            self.bench.restart()
            atomic.sweep(self.bench.volume.runs)

        @precondition(lambda self: self.bench.launcher.alive)
        @rule(data=st.data(), phase=st.sampled_from(["starting", "running"]))
        def trainer_says(self, data: st.DataObject, phase: Any) -> None:
            slot = data.draw(st.sampled_from(sorted(self.bench.launcher.alive)))
            self.bench.report(self.bench.assignment(slot).run, phase, slot=slot)

        @precondition(lambda self: self.bench.launcher.alive)
        @rule(data=st.data())
        def trainer_obeys(self, data: st.DataObject) -> None:
            """A trainer does what is desired of it, as the protocol says."""
            slot = data.draw(st.sampled_from(sorted(self.bench.launcher.alive)))
            run = self.bench.assignment(slot).run
            desired = read_record(self.bench.folder(run).desired, Desired)
            steps = self.bench.runs.show(run).run.steps
            if desired.state == "paused" and desired.pause == "hold":
                self.bench.report(run, "holding", slot=slot)
                return
            phase = {"running": "completed", "paused": "released", "stopped": "stopped"}[desired.state]
            self.bench.report(run, phase, slot=slot, step=steps if phase == "completed" else 10, steps=steps)
            self.bench.launcher.die(slot, 0)

        @precondition(lambda self: self.bench.launcher.alive)
        @rule(data=st.data(), code=st.sampled_from([1, 2, -9, 137, None]))
        def trainer_dies(self, data: st.DataObject, code: int | None) -> None:
            self.bench.launcher.die(data.draw(st.sampled_from(sorted(self.bench.launcher.alive))), code)

        @invariant()
        def no_run_is_trained_twice(self) -> None:
            trained = [self.working[slot] for slot in self.bench.launcher.alive]
            assert len(trained) == len(set(trained))
            assert trained == [self.bench.assignment(slot).run for slot in self.bench.launcher.alive]

        @invariant()
        def every_run_is_there_in_a_state_with_a_reason(self) -> None:
            assert self.bench.runs.problems() == {}
            found = self.bench.runs.awake()
            listed = [each.id for group in self.bench.runs.listed() for each in group]
            assert self.deleted.isdisjoint(listed)
            assert len(listed) == len(set(listed))
            if not self.bench.runs.unread:
                assert set(listed) == {run.id for run in self.bench.volume.run_folders()}
            for each in found:
                assert each.state.state in STATES
                assert each.state.reason
            places = sorted(each.position for each in found if each.position is not None)
            assert places == list(range(1, len(places) + 1))

        @invariant()
        def fences_only_grow_and_no_event_is_lost(self) -> None:
            for each in [self.bench.runs.show(run.id) for run in self.bench.volume.run_folders()]:
                events = self.bench.events(each.run.id)
                for kind in ("assigned", "ended"):
                    fences = [event.details["fence"] for event in events if event.kind == kind]
                    assert fences == sorted(set(fences)), kind
                told = [event.details["generation"] for event in events if event.kind == "desired"]
                assert told == sorted(set(told))

        @invariant()
        def a_list_says_what_showing_says(self) -> None:
            """Nothing but the files changes what is said of a run that was put away."""
            for each in self.bench.runs.listed()[1]:
                assert each.state_name == self.bench.runs.show(each.id).state_name

        @rule()
        def after_a_while_everything_is_written_down(self) -> None:
            """After two steps each run's events say all that was asked for and where it stands."""
            for _ in range(2):
                self.bench.step(seconds=0)
            for each in [self.bench.runs.show(run.id) for run in self.bench.volume.run_folders()]:
                events = self.bench.events(each.run.id)
                assert [event.kind for event in events].count("created") == 1
                told = [event.details["generation"] for event in events if event.kind == "desired"]
                assert told == list(range(1, each.run.generation + 1))
                states = [event.details["to"] for event in events if event.kind == "state"]
                assert states[-1] == each.state.state
                assert all(before != after for before, after in itertools.pairwise(states))

    return Gateways


@pytest.mark.parametrize(("awake", "examples"), [(100, 45), (0, 30)])
def test_whatever_is_asked_and_whoever_dies(bench: Any, awake: int, examples: int) -> None:
    """Whether runs that have settled are held whole or put away."""
    run_state_machine_as_test(
        machine(type(bench), awake=awake),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
