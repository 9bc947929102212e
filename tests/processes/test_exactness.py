"""The real trainer, TensorFlow and the tutorial's network, killed at a random moment: the same bits at the end."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from shared.checkpoints import CheckpointStore
from shared.layout import Volume
from shared.records import Event, SlotRecord, read_lines, read_record
from shared.spec import parse_spec
from tests.processes.trainers import REAL, bytes_at, make_run, status_of, training, until_step

SPEC = {
    "steps": 200,
    "batch_size": 8,
    "dataset": {"kind": "shapes", "train_examples": 300, "test_examples": 50},
    "learning_rate": {"kind": "exponential", "initial": 0.05, "every_epochs": 1.0, "staircase": False},
    "ema": {"decays": [0.9999, 0.9]},
    "cadence": {"log_steps": 20, "checkpoint_steps": 40},
}


@pytest.mark.slow
def test_f23_200_steps_in_one_go_equal_some_steps_a_sigkill_a_resume_and_the_rest(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    spec = parse_spec(SPEC, source="test")
    whole, broken = make_run(volume, "whole", spec), make_run(volume, "broken", spec)
    moment = random.uniform(0, 0.8)
    with training(volume, "--run", "whole", program=REAL) as trainer:
        assert trainer.end(seconds=240) == 0, trainer.text()
    with training(volume, "--run", "broken", program=REAL) as trainer:
        until_step(broken, 40, what=trainer)
        time.sleep(moment)  # not a wait for anything: the moment of the fault
        trainer.signal(signal.SIGKILL)
        trainer.end()
    reached = max(CheckpointStore(broken).steps())
    assert reached < 200
    with training(volume, "--run", "broken", program=REAL) as trainer:
        assert trainer.end(seconds=240) == 0, trainer.text()

    resumed = [event for _, event in read_lines(broken.trainer_events, Event) if event.kind == "resumed"]
    assert [event.step for event in resumed] == [reached]
    expected, found = bytes_at(whole, 200), bytes_at(broken, 200)
    assert expected.keys() == {
        "raw.safetensors",
        "ema-0.9999.safetensors",
        "ema-0.9.safetensors",
        "optimizer.safetensors",
    }
    assert found == expected, f"killed {moment:.3f} s after step 40"
    status = status_of(broken)
    assert status is not None
    assert status.phase == "completed"
    assert status.numerics["tensorflow"]


@pytest.mark.slow
def test_a_slot_without_assignment_writes_down_its_devices(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    with training(volume, "--slot", "cpu-0", program=REAL) as trainer:
        assert trainer.end(seconds=120) == 0, trainer.text()

    record = read_record(volume.slot("cpu-0").record, SlotRecord)
    assert any(device.kind == "cpu" for device in record.devices)
    assert record.host == os.uname().nodename
