"""A run on a volume of its own. TensorFlow is told about devices and kernels before any test here imports it."""

import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.trainer.journal import Events, Journal
from services.trainer.metrics import TrainerMetrics
from shared.checkpoints import CheckpointStore
from shared.devices import prepare_tensorflow
from shared.layout import RunFolder, Volume
from tests.trainer.runs import RUN, Trainer, small_spec

prepare_tensorflow(os.environ, device="cpu")


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "volume")


@pytest.fixture
def folder(volume: Volume) -> RunFolder:
    return volume.run(RUN)


@pytest.fixture
def store(folder: RunFolder) -> CheckpointStore:
    return CheckpointStore(folder)


@pytest.fixture
def metrics() -> TrainerMetrics:
    return TrainerMetrics(registry=CollectorRegistry(), run=RUN)


@pytest.fixture
def events(folder: RunFolder, metrics: TrainerMetrics) -> Events:
    return Events(journal=Journal(folder.trainer_events, on_loss=metrics.lost_lines.inc), time=lambda: 0.0)


@pytest.fixture
def trainer(volume: Volume, folder: RunFolder) -> Trainer:
    made = Trainer(volume, folder)
    made.write_spec(small_spec())
    return made
