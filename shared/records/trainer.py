"""What the trainer writes: how it is, the series, who may commit, what each checkpoint holds."""

from typing import Any, Literal

from pydantic import Field

from shared.records.files import FileName, FileRecord
from shared.records.record import Record, Value


class Device(Value):
    """One device that TensorFlow sees."""

    name: str
    kind: str
    memory_bytes: int | None = None
    description: str = ""


class SlotRecord(Record):
    """What a trainer found at its slot when it last looked."""

    slot: str
    devices: tuple[Device, ...]
    host: str
    versions: dict[str, str]
    problems: tuple[str, ...] = ()
    time: float


TrainerPhase = Literal[
    "starting", "running", "holding", "stopping", "completed", "stopped", "released", "yielded", "failed"
]


class TrainerStatus(Record):
    """The trainer's own word on a run. `beat` grows with every heartbeat: who watches it needs no common clock.

    Of the final phases, `completed` means that every step was made, `stopped` that it was asked to stop for good,
    `released` that it let go of its slot and expects to be started again (pause, end of the container), `yielded` that
    it did so for an evaluator to work there in its turn, and `failed` that `failure` says why.
    """

    run: str
    slot: str
    phase: TrainerPhase
    step: int = Field(ge=0)
    steps: int = Field(ge=1)
    checkpoint_step: int | None = None
    examples_per_second: float | None = None
    loss: float | None = None
    beat: int = Field(ge=0)
    time: float
    started: float
    fence: int = Field(ge=1)
    generation_seen: int = Field(ge=0)
    pid: int
    host: str
    versions: dict[str, str]
    numerics: dict[str, str] = Field(default_factory=dict)
    failure: dict[str, str | None] | None = None


class SeriesPoint(Value):
    """One line of `trainer/series.jsonl`. After a resume lines of a step may stand twice: the later one counts."""

    step: int
    time: float
    loss: float
    cross_entropy: float
    average_loss: float
    learning_rate: float
    examples_per_second: float


class Fence(Record):
    """`trainer/fence.json`: the trainer that may commit. A greater `fence` takes over; `token` names the process."""

    fence: int = Field(ge=1)
    token: str
    slot: str
    pid: int
    host: str
    time: float


class Rollback(Value):
    """A run diverged and went back to the checkpoint at `step`, or to its beginning. From there its rate is lower."""

    run: str
    step: int = Field(ge=0)
    diverged: int = Field(ge=0)
    factor: float = Field(gt=0.0, lt=1.0)
    reason: str
    time: float


class Rollbacks(Record):
    """`trainer/rollbacks.json`: every time the run went back, those of the run that it is a fork of first."""

    rollbacks: tuple[Rollback, ...] = ()

    def rate_factor(self, step: int) -> float:
        """What the scheduled rate of the update after `step` steps is multiplied by."""
        factor = 1.0
        for each in self.rollbacks:
            factor *= each.factor if step >= each.step else 1.0
        return factor


class CheckpointManifest(Record):
    """`checkpoints/<step>/manifest.json`. `weights` are the kinds beside it, one file `<kind>.safetensors` each.

    `spec_sha256` is the digest of what decides the numbers (`shared.checkpoints.training_values`), `spec` the whole
    specification as it was, so that a difference can be shown, and `dataset_fingerprint` says what was learnt from.
    `rollbacks` say how much lower than scheduled the rate was, and from which step on.
    """

    run: str
    step: int = Field(ge=0)
    fence: int = Field(ge=1)
    weights: tuple[str, ...]
    files: dict[FileName, FileRecord]
    spec_sha256: str
    spec: dict[str, Any] = Field(default_factory=dict)
    dataset_fingerprint: str = ""
    loss: float | None = None
    numerics: dict[str, str] = Field(default_factory=dict)
    rollbacks: tuple[Rollback, ...] = ()
    time: float
