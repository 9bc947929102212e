"""A run that alternates: trainer and evaluator take turns in one slot, whatever dies in between."""

from typing import Any

import pytest

from services.gateway.steering.alternation import ATTEMPTS
from services.gateway.steering.turns import Turns
from shared.layout import RunFolder
from shared.records import Event, LineWriter, Verdict, write_record
from tests.gateway.steering.killing import killed_at

KINDS = (("raw", None), ("ema", 0.9999))


class Alternating:
    """A run that alternates, and what its trainer and its evaluator would do."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        self.run = bench.start(sharing={"kind": "alternate", "every_steps": 10})

    @property
    def folder(self) -> RunFolder:
        found: RunFolder = self.bench.folder(self.run)
        return found

    def train(self, step: int, *, phase: str = "yielded", seconds: float = 30.0) -> None:
        """The trainer in the slot makes steps, commits, and ends."""
        self.bench.checkpoint(self.run, step)
        self.tell(self.folder.trainer_events, "trainer", "yielded", seconds=seconds)
        self.bench.report(self.run, phase, step=step)
        self.bench.launcher.die("slot-0", 0)

    def judge(self, step: int, *, seconds: float = 8.0) -> None:
        """The evaluator in the slot writes its verdicts, and ends."""
        for weights, decay in KINDS:
            kind = weights if decay is None else f"ema-{decay}"
            verdict = Verdict(run=self.run, step=step, weights=weights, decay=decay, precision_at_1=0.5, time=0)
            write_record(self.folder.verdict(step, kind), verdict)
        self.tell(self.folder.evaluator_events, "evaluator", "turn", seconds=seconds)
        self.bench.launcher.die("slot-0", 0)

    def tell(self, path: Any, service: Any, kind: str, **details: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = LineWriter(path)
        lines.append(Event(time=0, service=service, kind=kind, message=kind, details=details))
        lines.close()

    def step(self, *, seconds: float = 0) -> None:
        self.bench.epoch += seconds
        self.bench.step(seconds=seconds)

    @property
    def state(self) -> str:
        return str(self.bench.state(self.run))

    @property
    def task(self) -> str:
        return str(self.bench.assignment().task)

    @property
    def turns(self) -> Turns:
        found: Turns = self.bench.runs.show(self.run).turns
        return found


@pytest.fixture
def alternating(bench: Any) -> Alternating:
    made = Alternating(bench)
    made.step()
    return made


def test_after_a_period_the_slot_goes_to_an_evaluator_and_then_back_to_a_trainer(alternating: Any, bench: Any) -> None:
    assert (alternating.state, alternating.task, bench.fence()) == ("starting", "train", 1)
    alternating.train(10)
    assert alternating.state == "evaluating"
    alternating.step()
    assert (alternating.state, alternating.task, bench.fence()) == ("evaluating", "evaluate", 2)
    assert bench.reason(alternating.run) == "an evaluator judges it, in slot slot-0; then training goes on"
    alternating.judge(10)
    alternating.step()
    assert (alternating.state, alternating.task, bench.fence()) == ("starting", "train", 3)
    bench.report(alternating.run, "running", step=11)
    assert alternating.state == "running"
    outcomes = [event.details["outcome"] for event in bench.events(alternating.run) if event.kind == "ended"]
    assert outcomes == ["yielded", "evaluated"]


def test_a_turn_is_no_death(alternating: Any, bench: Any) -> None:
    for step in range(10, 100, 10):
        alternating.train(step)
        alternating.step()
        alternating.judge(step)
        alternating.step()
    assert alternating.state == "starting"
    assert bench.runs.show(alternating.run).restarts == 0
    assert bench.launcher.started == ["slot-0"] * 19


def test_nobody_else_gets_the_slot_between_two_turns(alternating: Any, bench: Any) -> None:
    other = bench.start()
    alternating.train(10)
    alternating.step()
    assert bench.assignment().run == alternating.run
    alternating.judge(10)
    alternating.step()
    assert bench.assignment().run == alternating.run
    assert bench.state(other) == "queued"


@pytest.mark.parametrize("phase", ["completed", "stopped"])
def test_the_last_checkpoint_is_judged_too_before_the_slot_is_free(alternating: Any, bench: Any, phase: str) -> None:
    other = bench.start()
    if phase == "stopped":
        bench.control.stop(alternating.run)
    alternating.train(100, phase=phase)
    alternating.step()
    assert (alternating.state, alternating.task, bench.assignment().run) == (phase, "evaluate", alternating.run)
    alternating.step(seconds=1000)
    assert bench.launcher.stopped == []
    alternating.judge(100)
    alternating.step()
    assert alternating.state == phase
    assert bench.assignment().run == other
    assert alternating.turns.count == 0, "no whole period: the trainer did not leave for an evaluator"


def test_an_evaluator_that_dies_is_tried_again_and_after_some_in_a_row_training_goes_on(
    alternating: Any, bench: Any
) -> None:
    alternating.train(10)
    alternating.step()
    for attempt in range(ATTEMPTS):
        assert (alternating.task, alternating.turns.misses) == ("evaluate", attempt)
        bench.launcher.die("slot-0", -9)
        alternating.step()
        assert alternating.state == "evaluating"
        alternating.step(seconds=60)
    assert (alternating.state, alternating.task) == ("starting", "train")
    ended = [event for event in bench.events(alternating.run) if event.kind == "ended"]
    assert ended[-1].message == "its evaluator ended with -9 and left the checkpoint at step 10 unjudged"
    alternating.train(20)
    alternating.step()
    assert alternating.task == "evaluate"


def test_a_trainer_that_dies_after_a_turn_is_followed_by_a_trainer(alternating: Any, bench: Any) -> None:
    alternating.train(10)
    alternating.step()
    alternating.judge(10)
    alternating.step()
    bench.launcher.die("slot-0", -9)
    alternating.step()
    assert alternating.state == "restarting"
    alternating.step(seconds=60)
    assert (alternating.state, alternating.task) == ("starting", "train")


def test_a_pause_during_an_evaluators_turn_waits_for_its_end(alternating: Any, bench: Any) -> None:
    other = bench.start()
    alternating.train(10)
    alternating.step()
    bench.control.pause(alternating.run)
    assert alternating.state == "pausing"
    alternating.judge(10)
    alternating.step()
    assert alternating.state == "paused"
    assert bench.assignment().run == other
    bench.launcher.names = ["slot-0", "slot-1"]
    bench.control.resume(alternating.run)
    alternating.step()
    assert bench.assignment("slot-1").run == alternating.run
    assert bench.assignment("slot-1").task == "train"


def test_a_stop_during_an_evaluators_turn_ends_the_run(alternating: Any, bench: Any) -> None:
    alternating.train(10)
    alternating.step()
    bench.control.stop(alternating.run)
    assert alternating.state == "stopping"
    alternating.step()
    alternating.step(seconds=100)
    assert bench.launcher.stopped == ["slot-0"]
    bench.launcher.die("slot-0", 0)
    alternating.step()
    alternating.step(seconds=100)
    assert (alternating.state, bench.launcher.alive) == ("stopped", {})


def test_a_kill_during_an_evaluators_turn_ends_it_at_once(alternating: Any, bench: Any) -> None:
    alternating.train(10)
    alternating.step()
    bench.control.kill(alternating.run)
    alternating.step()
    alternating.step()
    assert alternating.state == "stopped"


def test_an_evaluator_that_outlives_its_gateway_is_adopted(alternating: Any, bench: Any) -> None:
    alternating.train(10)
    alternating.step()
    bench.restart()
    alternating.step()
    assert alternating.state == "evaluating"
    assert bench.launcher.started == ["slot-0", "slot-0"]
    alternating.judge(10)
    bench.restart()
    alternating.step()
    assert (alternating.state, alternating.task) == ("starting", "train")


def test_a_last_turn_that_ends_while_there_is_no_gateway_is_settled(alternating: Any, bench: Any) -> None:
    alternating.train(100, phase="completed")
    alternating.step()
    alternating.judge(100)
    bench.restart()
    alternating.step()
    alternating.step()
    assert alternating.state == "completed"
    assert bench.launcher.started == ["slot-0", "slot-0"]


@pytest.mark.parametrize("number", range(60))
def test_a_gateway_killed_anywhere_in_a_period_is_followed_by_one_that_goes_on(bench: Any, number: int) -> None:
    alternating = Alternating(bench)
    alternating.step()
    alternating.train(10)
    with killed_at(number, bench.launcher):
        alternating.step()
        bench.step()
    bench.restart()
    for _ in range(3):
        alternating.step(seconds=10)
    assert (alternating.state, alternating.task) == ("evaluating", "evaluate")
    assert bench.launcher.started == ["slot-0", "slot-0"]
    alternating.judge(10)
    with killed_at(number, bench.launcher):
        alternating.step()
    bench.restart()
    for _ in range(3):
        alternating.step(seconds=10)
    assert (alternating.state, alternating.task) == ("starting", "train")
    assert bench.launcher.started == ["slot-0"] * 3
    assert [event.details["outcome"] for event in bench.events(alternating.run) if event.kind == "ended"] == [
        "yielded",
        "evaluated",
    ]


def test_period_and_shares_are_told_in_metrics_and_in_the_view(alternating: Any, bench: Any) -> None:
    view = bench.client().get(f"/v1/runs/{alternating.run}").json()
    assert view["sharing"] == {
        "periods": 0,
        "period_seconds": None,
        "training": 0.0,
        "evaluating": 0.0,
        "switching": 0.0,
    }
    for step in (10, 20):
        alternating.bench.epoch += 40
        alternating.train(step, seconds=30)
        alternating.step()
        alternating.bench.epoch += 10
        alternating.judge(step, seconds=5)
        alternating.step()
    view = bench.client().get(f"/v1/runs/{alternating.run}").json()
    assert view["sharing"] == {
        "periods": 2,
        "period_seconds": 50.0,
        "training": 0.6,
        "evaluating": 0.1,
        "switching": 0.3,
    }
    labels = {"run": alternating.run, "activity": "training"}
    assert bench.registry.get_sample_value("tandem_alternation_share", labels) == pytest.approx(0.6)
    assert bench.registry.get_sample_value("tandem_alternation_seconds", labels) == 60
    assert bench.registry.get_sample_value("tandem_alternation_period_seconds", {"run": alternating.run}) == 50
    assert bench.client().get(f"/v1/runs/{bench.start()}").json()["sharing"] is None


def test_turns_are_known_to_the_next_gateway_and_a_pause_is_no_part_of_a_period(alternating: Any, bench: Any) -> None:
    bench.epoch += 40
    alternating.train(10, seconds=30)
    alternating.step()
    bench.epoch += 10
    alternating.judge(10, seconds=5)
    alternating.step()
    known = alternating.turns
    assert (known.count, known.period) == (1, 50)
    bench.restart()
    assert alternating.turns == known
    bench.control.pause(alternating.run)
    assert alternating.turns.began is None
