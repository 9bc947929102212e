"""What both sides of the contest agree on: the task, and what a contestant reports."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.spec import DatasetSpec


@dataclass(frozen=True)
class Task:
    """Train the tutorial network on a data set for a number of steps, of which the first ones are not counted."""

    dataset: dict[str, object]
    volume: str
    batch_size: int
    warmup_steps: int
    measured_steps: int

    @property
    def dataset_spec(self) -> DatasetSpec:
        """The data set."""
        return DatasetSpec.model_validate(self.dataset)

    def to_json(self) -> str:
        """The task as a command line argument."""
        return json.dumps(asdict(self))

    def shown(self) -> dict[str, object]:
        """The task without where its files lie on this machine."""
        values = asdict(self)
        del values["volume"]
        return values | {"dataset": {"kind": self.dataset["kind"]}}

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """The task out of a command line argument."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Window:
    """The measured steps: how many, and between which times in seconds since the epoch."""

    steps: int
    start: float
    end: float

    @property
    def step_seconds(self) -> float:
        """Seconds a step."""
        return (self.end - self.start) / self.steps

    def write(self, path: Path) -> None:
        """Writes it down for the process that asked."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Window":
        """Reads what `write` wrote."""
        return cls(**json.loads(path.read_text()))
