"""The real trainer on two logical devices of one processor, told by its slot's assignment and the run's spec."""

from pathlib import Path

import pytest

from shared.checkpoints import CheckpointStore
from shared.layout import Volume
from shared.records import Assignment, SeriesPoint, SlotRecord, read_lines, read_record, write_record
from shared.spec import parse_spec
from tests.processes.trainers import REAL, make_run, status_of, training

SPEC = {
    "steps": 8,
    "batch_size": 8,
    "dataset": {"kind": "shapes", "train_examples": 40, "test_examples": 20},
    "devices": "all",
    "cadence": {"log_steps": 4, "checkpoint_steps": 8},
}


@pytest.mark.slow
def test_a_run_that_asks_for_all_devices_is_trained_on_them_and_says_so(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    run = make_run(volume, "both", parse_spec(SPEC, source="test"))
    write_record(volume.slot("cpu-0").assignment, Assignment(run="both", fence=1, time=0.0))
    with training(volume, "--slot", "cpu-0", program=REAL, TANDEM_TRAINER_LOGICAL_DEVICES="2") as trainer:
        assert trainer.end(seconds=240) == 0, trainer.text()

    status = status_of(run)
    assert status is not None
    assert (status.phase, status.step) == ("completed", 8)
    assert status.numerics["devices"] == "CPU:0 CPU:1"
    manifest = CheckpointStore(run).open(8).manifest
    assert manifest.numerics["devices"] == "CPU:0 CPU:1"
    assert [point.step for _, point in read_lines(run.series, SeriesPoint)] == [4, 8]
    record = read_record(volume.slot("cpu-0").record, SlotRecord)
    assert [device.name for device in record.devices] == ["CPU:0", "CPU:1"]
