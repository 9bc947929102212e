"""A run that alternates: the trainer exits after each period, and its slot's process becomes the evaluator."""

import sys
from pathlib import Path

import pytest

from services.trainer.handover import evaluator_command, evaluator_environment
from shared.checkpoints import CheckpointStore
from shared.layout import Volume
from shared.records import Assignment, SeriesPoint, read_lines, write_record
from tests.trainer.numpy_engine import bytes_of
from tests.trainer.runs import Trainer, small_spec

ALTERNATE = {"kind": "alternate", "every_steps": 15}


def contents(trainer: Trainer, step: int) -> dict[str, bytes]:
    checkpoint = CheckpointStore(trainer.folder).open(step)
    return bytes_of({kind: checkpoint.load(kind) for kind in ("raw", "ema-0.9999", "optimizer")})


def test_a_trainer_that_alternates_exits_after_each_period_with_a_checkpoint(trainer: Trainer) -> None:
    trainer.write_spec(small_spec(sharing=ALTERNATE))
    told = []
    for _ in range(3):
        assert trainer.train() == 0
        told.append((trainer.status().phase, trainer.status().step, trainer.status().checkpoint_step))
    assert told == [("yielded", 15, 15), ("yielded", 30, 30), ("completed", 40, 40)]
    assert CheckpointStore(trainer.folder).steps() == [10, 15, 20, 30, 40]
    assert [event.step for event in trainer.events("yielded")] == [15, 30]
    assert all(event.details["seconds"] >= 0 for event in trainer.events("yielded"))


def test_alternating_changes_no_bit(trainer: Trainer) -> None:
    trainer.train()
    turns = Trainer(trainer.volume, trainer.volume.run("turns"))
    turns.write_spec(small_spec(sharing=ALTERNATE))
    for _ in range(3):
        turns.train()
    assert contents(turns, 40) == contents(trainer, 40)
    steps = [point.step for _, point in read_lines(turns.folder.series, SeriesPoint)]
    assert steps == [5, 10, 15, 20, 25, 30, 35, 40]


@pytest.mark.parametrize("every", [40, 1000])
def test_a_period_that_reaches_the_last_step_is_no_turn(trainer: Trainer, every: int) -> None:
    trainer.write_spec(small_spec(sharing={"kind": "alternate", "every_steps": every}))
    trainer.train()
    assert trainer.status().phase == "completed"
    assert trainer.events("yielded") == []


def test_a_trainer_released_within_a_period_goes_on_to_the_end_of_that_period(trainer: Trainer) -> None:
    trainer.write_spec(small_spec(sharing=ALTERNATE))
    trainer.settings["trainer_steps_per_call"] = 1
    trainer.before_step = lambda step: trainer.stop.set() if step == 6 else None
    trainer.train()
    assert (trainer.status().phase, trainer.status().step) == ("released", 7)
    again = Trainer(trainer.volume, trainer.folder)
    again.train()
    assert (again.status().phase, again.status().step) == ("yielded", 15)


def test_an_assignment_to_evaluate_is_handed_over_without_touching_the_run(trainer: Trainer) -> None:
    assignment = Assignment(run=trainer.folder.id, fence=3, time=0.0, task="evaluate")
    write_record(trainer.volume.slot("a").assignment, assignment)
    assert trainer.train(slot="a") == 0
    assert trainer.evaluated == [trainer.folder.id]
    assert not trainer.folder.trainer.exists()


def test_the_evaluator_of_a_turn_has_the_slot_to_itself() -> None:
    command = evaluator_command(Volume(Path("somewhere")), "run-1")
    assert command[:3] == [sys.executable, "-m", "services.evaluator"]
    assert command[3:8] == ["--volume", "somewhere", "--run", "run-1", "--once"]
    assert command[8:] == ["--device", "any", "--policy", "newest-first"]


def test_the_evaluator_of_a_turn_takes_the_trainers_threads_and_its_port_of_metrics() -> None:
    environment = evaluator_environment(
        {
            "CUDA_VISIBLE_DEVICES": "1",
            "TANDEM_TRAINER_THREADS": "3",
            "TANDEM_TRAINER_METRICS_PORT": "9101",
            "TANDEM_EVALUATOR_METRICS_PORT": "9201",
            "TANDEM_EVALUATOR_EXPORTS": "5",
        }
    )
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment["TANDEM_EVALUATOR_THREADS"] == "3"
    assert environment["TANDEM_EVALUATOR_METRICS_PORT"] == "9101"
    assert environment["TANDEM_EVALUATOR_NICE"] == "0"
    assert environment["TANDEM_EVALUATOR_EXPORTS"] == "5"
    assert "TANDEM_EVALUATOR_METRICS_PORT" not in evaluator_environment({"TANDEM_EVALUATOR_METRICS_PORT": "9201"})
