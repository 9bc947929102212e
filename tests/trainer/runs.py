"""Runs of tests: a small spec, a tenure, and a trainer that works in this process with the NumPy engine."""

from collections.abc import Callable
from typing import Any

from services.trainer.command import Command, Order, Parts
from services.trainer.fencing import Identity, Tenure
from services.trainer.session import Clocks
from services.trainer.settings import TrainerSettings
from shared.data.examples import Dataset
from shared.layout import RunFolder, Volume
from shared.lifecycle import StopEvent
from shared.records import Device, Event, TrainerStatus, read_lines, read_record, write_record
from shared.spec import RunSpec, parse_spec
from tests.trainer.numpy_engine import NumpyEngine, open_small_dataset

RUN = "20260101-000000-run-0000"


def small_spec(**changes: Any) -> RunSpec:
    values: dict[str, Any] = {
        "steps": 40,
        "batch_size": 8,
        "learning_rate": {"kind": "constant", "rate": 0.1},
        "cadence": {"log_steps": 5, "checkpoint_steps": 10},
        "retention": {"latest": 100},
    }
    return parse_spec({**values, **changes}, source="test")


def tenure_of(folder: RunFolder, *, fence: int | None = None, slot: str = "a", **changes: Any) -> Tenure:
    defaults: dict[str, Any] = {"clock": lambda: 0.0, "wait": lambda seconds: False, "time": lambda: 0.0}
    return Tenure(
        folder=folder, fence=fence, identity=Identity(slot=slot, pid=1, host="here"), **{**defaults, **changes}
    )


class Trainer:
    """Trains one run in this process, as the program would, with everything around it under the test's hand."""

    def __init__(self, volume: Volume, folder: RunFolder) -> None:
        self.volume = volume
        self.folder = folder
        self.stop = StopEvent()
        self.engine: NumpyEngine | None = None
        self.before_step: Callable[[int], None] = lambda step: None
        self.open_dataset: Callable[..., Dataset] = open_small_dataset
        self.evaluated: list[str] = []
        self.clocks = Clocks()
        self.numerics: dict[str, str] = {}
        self.settings: dict[str, Any] = {"trainer_control_seconds": 0.001}

    def write_spec(self, spec: RunSpec) -> None:
        write_record(self.folder.spec, spec)

    def train(self, *, fresh: bool = False, slot: str | None = None) -> int:
        command = Command(
            settings=TrainerSettings(volume=self.volume.root, **self.settings),
            parts=Parts(
                open_dataset=self.open_dataset,
                build_engine=self._build,
                devices=self._devices,
                evaluate=self._evaluate,
            ),
            stop=self.stop,
            clocks=self.clocks,
        )
        run = None if slot else self.folder.id
        return command.carry_out(Order(slot=slot, run=run, recipe=None, fresh=fresh))

    def status(self) -> TrainerStatus:
        return read_record(self.folder.status, TrainerStatus)

    def events(self, kind: str) -> list[Event]:
        return [event for _, event in read_lines(self.folder.trainer_events, Event) if event.kind == kind]

    def _build(self, spec: RunSpec, dataset: Dataset) -> NumpyEngine:
        self.engine = NumpyEngine(spec, before_step=self.before_step)
        self.engine.told = self.numerics
        return self.engine

    def _evaluate(self, volume: Volume, run: str) -> int:
        self.evaluated.append(run)
        return 0

    def _devices(self) -> tuple[Device, ...]:
        return (Device(name="cpu:0", kind="cpu"),)
