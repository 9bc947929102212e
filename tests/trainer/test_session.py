"""A whole training in this process: command, session, loop, saver and status together, with the NumPy engine."""

import logging
import re
import threading
import time
import urllib.request
from collections.abc import Callable

import numpy as np
import pytest

from shared.checkpoints import CheckpointStore
from shared.data.examples import Dataset
from shared.errors import DatasetMissingError
from shared.lifecycle import StopEvent
from shared.records import (
    Assignment,
    Desired,
    SeriesPoint,
    SlotRecord,
    TrainerStatus,
    read_lines,
    read_record,
    write_record,
)
from tests.trainer.numpy_engine import bytes_of
from tests.trainer.runs import Trainer, small_spec, tenure_of

KINDS = ("raw", "ema-0.9999", "optimizer")


def contents(trainer: Trainer, step: int) -> dict[str, bytes]:
    checkpoint = CheckpointStore(trainer.folder).open(step)
    return bytes_of({kind: checkpoint.load(kind) for kind in KINDS})


def steps(trainer: Trainer) -> list[int]:
    return CheckpointStore(trainer.folder).steps()


def desire(trainer: Trainer, state: str, *, generation: int = 1, pause: str = "release") -> None:
    write_record(trainer.folder.desired, Desired(generation=generation, state=state, pause=pause, time=0.0))


def until(trainer: Trainer, condition: Callable[[TrainerStatus], bool]) -> TrainerStatus:
    deadline = time.monotonic() + 20
    while True:
        if trainer.folder.status.exists() and condition(status := trainer.status()):
            return status
        assert time.monotonic() < deadline
        time.sleep(0.005)


def in_thread(trainer: Trainer) -> threading.Thread:
    thread = threading.Thread(target=trainer.train)
    thread.start()
    return thread


def test_a_run_is_trained_to_its_end(trainer: Trainer) -> None:
    assert trainer.train() == 0

    status = trainer.status()
    assert (status.phase, status.step, status.checkpoint_step, status.failure) == ("completed", 40, 40, None)
    assert status.numerics.keys() == {"numpy"}
    assert steps(trainer) == [10, 20, 30, 40]
    points = [point for _, point in read_lines(trainer.folder.series, SeriesPoint)]
    assert [point.step for point in points] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert points[-1].loss < points[0].loss
    assert [event.step for event in trainer.events("checkpoint_committed")] == [10, 20, 30, 40]
    assert trainer.events("finished")[0].details == {"phase": "completed"}


def test_the_manifest_says_by_what_and_from_what_it_was_made(trainer: Trainer) -> None:
    trainer.train()

    manifest = CheckpointStore(trainer.folder).open(40).manifest
    assert manifest.spec == small_spec().model_dump(mode="json")
    assert manifest.dataset_fingerprint == "0" * 64
    assert (manifest.fence, manifest.numerics.keys()) == (1, {"numpy"})


@pytest.mark.parametrize("last", [0, 9, 10, 17, 38])
def test_f23_a_run_that_was_interrupted_anywhere_ends_with_the_same_bytes(trainer: Trainer, last: int) -> None:
    trainer.train()
    whole = contents(trainer, 40)
    again = Trainer(trainer.volume, trainer.volume.run("again"))
    again.write_spec(small_spec())
    again.settings["trainer_steps_per_call"] = 1
    again.before_step = lambda step: again.stop.set() if step == last else None
    assert again.train() == 0
    assert again.status().phase == "released"

    again.stop = StopEvent()
    assert again.train() == 0

    assert [event.step for event in again.events("resumed")] == [last + 1]
    assert contents(again, 40) == whole


def test_what_a_run_computes_with_is_told_and_that_it_has_changed_since_is_shown(trainer: Trainer) -> None:
    trainer.numerics = {"onednn": "1", "device": "cpu"}
    trainer.before_step = lambda step: trainer.stop.set() if step == 9 else None
    trainer.train()
    assert trainer.status().numerics == {"numpy": np.__version__, "onednn": "1", "device": "cpu"}

    trainer.numerics = {"onednn": "0", "device": "cpu", "xla": "false"}
    trainer.stop = StopEvent()
    assert trainer.train() == 0
    (event,) = trainer.events("resumed")
    assert event.message.endswith(", with other numerics than before: onednn: was 1, is 0; xla: was unknown, is false")
    assert event.details["changed"] == {"onednn": ["1", "0"], "xla": [None, "false"]}


def test_a_released_run_has_its_last_step_committed(trainer: Trainer) -> None:
    trainer.settings["trainer_steps_per_call"] = 1
    trainer.before_step = lambda step: trainer.stop.set() if step == 16 else None

    trainer.train()

    assert (trainer.status().phase, trainer.status().step) == ("released", 17)
    assert steps(trainer) == [10, 17]


def test_a_completed_run_that_is_started_again_is_complete_at_once(trainer: Trainer) -> None:
    trainer.train()
    assert trainer.train() == 0

    assert trainer.status().phase == "completed"
    assert trainer.engine is not None
    assert trainer.engine.calls == []


def test_more_steps_go_on_from_the_end(trainer: Trainer) -> None:
    trainer.train()
    trainer.write_spec(small_spec(steps=60))

    assert trainer.train() == 0
    assert steps(trainer) == [10, 20, 30, 40, 50, 60]


def test_a_run_that_is_to_stop_commits_and_is_stopped(trainer: Trainer) -> None:
    trainer.settings["trainer_steps_per_call"] = 1
    trainer.before_step = lambda step: desire(trainer, "stopped", generation=7) if step == 12 else time.sleep(0.002)

    assert trainer.train() == 0

    status = trainer.status()
    assert (status.phase, status.generation_seen) == ("stopped", 7)
    assert 12 <= status.step < 40
    assert steps(trainer)[-1] == status.step
    assert trainer.events("desired_seen")[0].details == {"generation": 7}


def test_a_run_that_is_to_stop_before_it_began_is_stopped_without_building_anything(trainer: Trainer) -> None:
    desire(trainer, "stopped")

    assert trainer.train() == 0
    assert (trainer.status().phase, trainer.engine) == ("stopped", None)


def test_a_run_on_hold_stays_in_memory_commits_and_goes_on_to_the_same_bytes(trainer: Trainer) -> None:
    trainer.train()
    whole = contents(trainer, 40)
    held = Trainer(trainer.volume, trainer.volume.run("held"))
    held.write_spec(small_spec())
    held.settings["trainer_steps_per_call"] = 1
    held.before_step = lambda step: (
        desire(held, "paused", pause="hold") if step == 13 and not held.folder.desired.exists() else time.sleep(0.002)
    )
    thread = in_thread(held)

    at = until(held, lambda status: status.phase == "holding").step
    engine = held.engine
    assert steps(held)[-1] == at
    desire(held, "running", generation=2)
    thread.join(20)

    assert not thread.is_alive()
    assert held.engine is engine
    assert held.status().phase == "completed"
    assert contents(held, 40) == whole


@pytest.mark.parametrize(("state", "phase"), [("stopped", "stopped"), ("paused", "released")])
def test_a_run_on_hold_can_be_ended(trainer: Trainer, state: str, phase: str) -> None:
    desire(trainer, "paused", pause="hold")
    thread = in_thread(trainer)
    until(trainer, lambda status: status.phase == "holding")

    desire(trainer, state, generation=2)
    thread.join(20)

    assert not thread.is_alive()
    assert trainer.status().phase == phase


def test_a_diverged_run_fails_and_keeps_its_last_good_checkpoint(trainer: Trainer) -> None:
    def spoil(step: int) -> None:
        if step == 22 and trainer.engine is not None:
            trainer.engine.spoil()

    trainer.before_step = spoil

    assert trainer.train() == 1

    status = trainer.status()
    assert (status.phase, status.failure and status.failure["code"]) == ("failed", "diverged")
    assert steps(trainer) == [10, 20]
    assert len(trainer.events("diverged")) == 1


def test_a_breakdown_of_the_engine_is_told_as_such(trainer: Trainer) -> None:
    def fail(step: int) -> None:
        raise RuntimeError("the device is lost")

    trainer.before_step = fail

    assert trainer.train() == 1
    failure = trainer.status().failure
    assert failure is not None
    assert (failure["code"], failure["message"]) == ("internal", "RuntimeError: the device is lost")
    assert not any(thread.name.startswith("trainer-") for thread in threading.enumerate())


def test_f44_missing_data_fail_the_run_before_an_engine_is_built(trainer: Trainer) -> None:
    def missing(spec: object, *, volume: object) -> Dataset:
        raise DatasetMissingError("is not there", where="/data/cifar10")

    trainer.open_dataset = missing

    assert trainer.train() == 2
    assert trainer.status().failure == {
        "code": "dataset_missing",
        "message": "is not there",
        "where": "/data/cifar10",
        "hint": None,
    }
    assert (trainer.engine, steps(trainer)) == (None, [])


def test_f08_damaged_checkpoints_are_told_and_the_run_goes_on_from_the_last_good_one(trainer: Trainer) -> None:
    trainer.train()
    whole = contents(trainer, 40)
    (trainer.folder.checkpoint(40) / "manifest.json").write_bytes(b"{")
    (trainer.folder.checkpoint(30) / "raw.safetensors").write_bytes(b"")

    assert trainer.train() == 0

    assert [event.step for event in trainer.events("checkpoint_quarantined")] == [40, 30]
    assert trainer.events("resumed")[-1].step == 20
    assert contents(trainer, 40) == whole


def test_f08_flipped_bits_are_counted_and_what_is_damaged_is_kept_as_it_is(
    trainer: Trainer, caplog: pytest.LogCaptureFixture
) -> None:
    trainer.train()
    whole = contents(trainer, 40)
    damaged = {40: "ema-0.9999.safetensors", 30: "optimizer.safetensors", 20: "raw.safetensors"}
    flipped: dict[int, bytes] = {}
    for step, name in damaged.items():
        path = trainer.folder.checkpoint(step) / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1 << step % 8
        flipped[step] = bytes(data)
        path.write_bytes(data)
    scraped: list[str] = []

    def scrape(step: int) -> None:
        if step == 15:
            (url,) = re.findall(r"http://\S+/metrics", caplog.text)
            with urllib.request.urlopen(url, timeout=10) as answer:
                scraped.append(answer.read().decode())

    trainer.settings["trainer_metrics_port"] = 0
    trainer.before_step = scrape
    with caplog.at_level(logging.INFO):
        assert trainer.train() == 0

    assert trainer.events("resumed")[-1].step == 10
    assert {
        step: (trainer.folder.quarantine / str(step) / name).read_bytes() for step, name in damaged.items()
    } == flipped
    assert re.findall(r"^tandem_checkpoint_quarantined_total\S* (\S+)$", scraped[0], re.MULTILINE) == ["3.0"]
    assert contents(trainer, 40) == whole


def test_f11_a_run_with_nothing_good_left_fails_with_a_word_on_what_to_do(trainer: Trainer) -> None:
    trainer.write_spec(small_spec(steps=10))
    trainer.train()
    (trainer.folder.checkpoint(10) / "manifest.json").unlink()

    assert trainer.train() == 1
    failure = trainer.status().failure
    assert failure is not None
    assert failure["code"] == "no_good_checkpoint"
    assert "--fresh" in str(failure["hint"])
    assert trainer.train(fresh=True) == 0


def test_f01_what_a_killed_trainer_left_half_written_is_removed(trainer: Trainer) -> None:
    leftover = trainer.folder.checkpoints / ".tmp-30-1-abcd"
    leftover.mkdir(parents=True)
    (leftover / "raw.safetensors").write_bytes(b"half")

    trainer.train()

    assert not leftover.exists()


def test_time_makes_checkpoints_besides_steps(trainer: Trainer) -> None:
    trainer.write_spec(small_spec(cadence={"log_steps": 40, "checkpoint_steps": 1000, "checkpoint_seconds": 0.01}))
    trainer.settings["trainer_steps_per_call"] = 1
    trainer.before_step = lambda step: time.sleep(0.002)

    trainer.train()

    assert len(steps(trainer)) > 2


def test_a_slot_without_assignment_is_only_looked_at(trainer: Trainer) -> None:
    assert trainer.train(slot="gpu-0") == 0

    record = read_record(trainer.volume.slot("gpu-0").record, SlotRecord)
    assert [device.name for device in record.devices] == ["cpu:0"]
    assert trainer.engine is None


def test_a_slot_trains_what_it_was_assigned_under_that_fence(trainer: Trainer) -> None:
    write_record(trainer.volume.slot("gpu-0").assignment, Assignment(run=trainer.folder.id, fence=5, time=0.0))

    assert trainer.train(slot="gpu-0") == 0

    assert (trainer.status().slot, trainer.status().fence, trainer.status().phase) == ("gpu-0", 5, "completed")
    assert CheckpointStore(trainer.folder).open(40).manifest.fence == 5
    assert trainer.volume.slot("gpu-0").record.exists()


def test_a_trainer_that_is_taken_over_while_it_trains_ends_and_touches_nothing_of_its_successor(
    trainer: Trainer,
) -> None:
    trainer.settings["trainer_steps_per_call"] = 1
    successor = tenure_of(trainer.folder, fence=9, slot="b", wait=lambda seconds: False)

    def take_over(step: int) -> None:
        if step == 25:
            trainer.folder.lock.unlink()  # as a takeover does
            successor.acquire(takeover_seconds=0.01)

    trainer.before_step = take_over

    assert trainer.train() == 1
    assert max(steps(trainer)) <= 20  # that commit may have been under way
    assert trainer.status().phase == "running"  # the successor's to change


def extend(trainer: Trainer, steps: int, *, generation: int = 1) -> None:
    write_record(trainer.folder.desired, Desired(generation=generation, state="running", steps=steps, time=0.0))


def test_a_completed_run_that_was_extended_makes_the_steps_that_are_new(trainer: Trainer) -> None:
    trainer.train()
    extend(trainer, 60)
    assert trainer.train() == 0
    status = trainer.status()
    assert (status.phase, status.step, status.steps) == ("completed", 60, 60)
    assert steps(trainer)[-2:] == [50, 60]


def test_a_run_is_extended_while_it_trains_and_computes_what_a_longer_one_does(trainer: Trainer) -> None:
    trainer.settings["trainer_steps_per_call"] = 1
    trainer.before_step = lambda step: extend(trainer, 60) if step == 25 else None
    assert trainer.train() == 0
    assert (trainer.status().phase, trainer.status().step) == ("completed", 60)

    longer = Trainer(trainer.volume, trainer.volume.run("longer"))
    longer.write_spec(small_spec(steps=60))
    longer.train()
    assert contents(trainer, 60) == contents(longer, 60)


def test_an_extension_is_passed_over_where_the_rate_depends_on_the_steps(trainer: Trainer) -> None:
    trainer.write_spec(small_spec(learning_rate={"kind": "one-cycle"}))
    extend(trainer, 60)
    trainer.train()
    assert trainer.status().step == 40


def test_a_killed_run_ends_without_a_last_checkpoint(trainer: Trainer) -> None:
    trainer.write_spec(small_spec(steps=100_000, cadence={"log_steps": 5, "checkpoint_steps": 100_000}))
    trainer.settings["trainer_steps_per_call"] = 1
    kill = Desired(generation=1, state="stopped", kill=True, time=0.0)
    trainer.before_step = lambda step: write_record(trainer.folder.desired, kill) if step == 16 else None
    assert trainer.train() == 0
    assert trainer.status().phase == "stopped"
    assert steps(trainer) == []
