"""The records on the volume, as frozen values, and how they are read and written.

Each carries `schema_version`; one that this release does not know is a named error, never a guess. Times are seconds
since the epoch (UTC) and serve people alone: nothing is decided by comparing them, since clocks jump.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared import atomic
from shared.errors import CorruptRecordError, UnknownSchemaError
from shared.judgements import Calibration, Comparison, Drift, Recalibrated

SCHEMA_VERSION = 1


class Record(BaseModel):
    """Base of every record. Unknown keys are kept out; a missing key without default is corruption."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schema_version: Literal[1] = 1


class Desired(Record):
    """What the gateway wants of a run. `generation` grows with each change; the trainer answers with the one it saw.

    `kill` (of a run that is to be stopped) means without a last checkpoint. `steps` is how many steps the run is to
    make once that was extended; `shared.steps` says how it goes together with the spec. Rules that end a run look at
    verdicts of steps after `rules_from`, and at time at work after `seconds_from`, so a run that a rule has stopped can
    be restarted.
    """

    generation: int = Field(ge=0)
    state: Literal["running", "paused", "stopped"]
    pause: Literal["hold", "release"] = "release"
    kill: bool = False
    steps: int | None = Field(default=None, ge=1)
    rules_from: int = Field(default=0, ge=0)
    seconds_from: float = Field(default=0.0, ge=0.0)
    reason: str = ""
    time: float


class Tags(Record):
    """`tags.json`: what may be changed about a run without touching what it computes.

    Of queued runs those of greater `priority` go first. `labels` are laid over the spec's; null takes one away.
    """

    priority: int = 0
    labels: dict[str, str | None] = Field(default_factory=dict)


class Pins(Record):
    """`pins.json`: the steps whose checkpoints stay, whatever the spec says about retention."""

    steps: tuple[int, ...] = ()


class Canary(BaseModel):
    """The export of `step` answers `share` of the requests for an alias."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = Field(ge=0)
    share: float = Field(gt=0.0, lt=1.0)


class Move(BaseModel):
    """An alias came to point at the export of `step`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = Field(ge=0)
    precision_at_1: float
    reason: str
    time: float


class Alias(BaseModel):
    """A name for one export of a run: that of the last move. `pinned`: it moves by hand alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    moves: tuple[Move, ...] = Field(min_length=1)
    pinned: bool = False
    canary: Canary | None = None

    @property
    def now(self) -> Move:
        """The move that made it what it is."""
        return self.moves[-1]

    @property
    def step(self) -> int:
        """Of the export that it points at."""
        return self.moves[-1].step

    @property
    def before(self) -> int | None:
        """The step that it pointed at before, which a roll back goes to; None if it has been nowhere else."""
        return next((move.step for move in reversed(self.moves) if move.step != self.step), None)

    @property
    def needed(self) -> frozenset[int]:
        """The steps of the exports that must stay for it: where it points, what it tries, and where it was before."""
        tried = None if self.canary is None else self.canary.step
        return frozenset(step for step in (self.step, tried, self.before) if step is not None)


class Aliases(Record):
    """`aliases.json`: what the aliases of a run point at."""

    aliases: dict[str, Alias] = Field(default_factory=dict)

    @property
    def steps(self) -> frozenset[int]:
        """Of the exports that must stay."""
        return frozenset(step for alias in self.aliases.values() for step in alias.needed)


class Parent(BaseModel):
    """The checkpoint that a forked run begins with: its run, its step, and the digest of its manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    step: int = Field(ge=0)
    manifest_sha256: str


class Origin(Record):
    """`origin.json`: how a run came to be. `key` and `body_sha256` are those of the request, where it had a key."""

    recipe: str | None = None
    parent: Parent | None = None
    key: str | None = None
    body_sha256: str | None = None
    time: float


class Assignment(Record):
    """Which run a slot is to train, and under which fencing number; or to evaluate, in a run that alternates."""

    run: str
    fence: int = Field(ge=1)
    time: float
    task: Literal["train", "evaluate"] = "train"


class Device(BaseModel):
    """One device that TensorFlow sees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class SeriesPoint(BaseModel):
    """One line of `trainer/series.jsonl`. After a resume lines of a step may stand twice: the later one counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    step: int
    time: float
    loss: float
    cross_entropy: float
    average_loss: float
    learning_rate: float
    examples_per_second: float


class Event(BaseModel):
    """One line of an `events.jsonl`: what happened, when, why."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    time: float
    service: Literal["trainer", "evaluator", "gateway"]
    kind: str
    message: str
    step: int | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class Fence(Record):
    """`trainer/fence.json`: the trainer that may commit. A greater `fence` takes over; `token` names the process."""

    fence: int = Field(ge=1)
    token: str
    slot: str
    pid: int
    host: str
    time: float


class Rollback(BaseModel):
    """A run diverged and went back to the checkpoint at `step`, or to its beginning. From there its rate is lower."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
"""Of a file beside the manifest that names it: it leads nowhere else."""


class FileRecord(BaseModel):
    """Size and digest of one file of a committed folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


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


class ClassFigures(BaseModel):
    """How one class was judged. A figure whose denominator is zero is None."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    examples: int
    precision: float | None
    recall: float | None
    f1: float | None


class Verdict(Record):
    """`evaluations/<step>/<kind>.json`: the judgement of one kind of weights of one checkpoint.

    `precision_at_1` is the share of examples whose most probable class is the label; `interval` is its Wilson score
    interval at 95%. `confusion[i][j]` counts examples of class i taken for class j. `status` other than `judged` means
    that the checkpoint could not be judged for good, and `problem` says why; then there are no figures.

    `answers` is the file beside it that holds the answer to each example. `comparison` is None for the first of its
    kind, `drift` where the checkpoint before it is gone, `recalibrated` without batch normalisation.
    """

    run: str
    step: int = Field(ge=0)
    weights: Literal["raw", "ema"]
    decay: float | None = None
    status: Literal["judged", "corrupt", "failed"] = "judged"
    problem: str | None = None
    examples: int = 0
    precision_at_1: float | None = None
    interval: tuple[float, float] | None = None
    top_k: int = 5
    precision_at_k: float | None = None
    loss: float | None = None
    confusion: tuple[tuple[int, ...], ...] = ()
    classes: tuple[ClassFigures, ...] = ()
    calibration: Calibration | None = None
    comparison: Comparison | None = None
    drift: Drift | None = None
    recalibrated: Recalibrated | None = None
    answers: FileRecord | None = None
    seconds: float = 0.0
    evaluator: str = ""
    manifest_sha256: str = ""
    time: float


class Lease(Record):
    """`leases/<step>.json`: "I am reading this". `beat` grows while its owner lives."""

    step: int
    owner: str
    token: str
    beat: int = Field(ge=0)
    time: float


class ExportManifest(Record):
    """`exports/<step>/manifest.json`: a servable model made of one kind of evaluated weights.

    The model takes `images`: uint8 of shape [n, height, width, 3], and answers `logits`: float32 of shape [n, classes].
    """

    run: str
    step: int
    weights: Literal["raw", "ema"]
    decay: float | None
    files: dict[FileName, FileRecord]
    input_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    precision_at_1: float
    greatest_difference: float
    time: float


class EvaluatorStatus(Record):
    """`evaluators/<name>/status.json`: the evaluator's own word on itself."""

    name: str
    pid: int
    host: str
    beat: int
    time: float
    run: str | None = None
    step: int | None = None
    backlog: int = 0
    versions: dict[str, str] = Field(default_factory=dict)


R = TypeVar("R", bound=BaseModel)


def read_record(path: Path, kind: type[R]) -> R:
    """The record at `path`.

    Raises:
        FileNotFoundError: There is none.
        UnknownSchemaError: It is of another schema version.
        CorruptRecordError: It is not what its schema says.
    """
    return parse_record(path.read_bytes(), kind, source=path)


def read_record_or_none(path: Path, kind: type[R]) -> R | None:
    """The record at `path`, or None if there is none. Raises like `read_record` otherwise."""
    try:
        return read_record(path, kind)
    except (FileNotFoundError, NotADirectoryError):
        return None


def parse_record(data: bytes, kind: type[R], *, source: Path) -> R:
    """The record in `data`, which was read from `source`. Raises like `read_record`."""
    try:
        return kind.model_validate_json(data)  # which refuses other schema versions too
    except ValidationError as error:
        raise _named(error, data, source) from error


def _named(error: ValidationError, data: bytes, source: Path) -> CorruptRecordError | UnknownSchemaError:
    """What is wrong with a record, by name."""
    try:
        values = json.loads(data)
    except ValueError:
        return CorruptRecordError("not JSON", where=str(source))
    version = values.get("schema_version", SCHEMA_VERSION) if isinstance(values, dict) else SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        return UnknownSchemaError(
            f"has schema version {version!r}; this release knows {SCHEMA_VERSION}",
            where=str(source),
            hint="Use the release of tandem that wrote it, or a newer one",
        )
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return CorruptRecordError(f"{field or 'the record'}: {first['msg']}", where=str(source))


def write_record(path: Path, record: BaseModel) -> None:
    """Puts `record` in place at `path`, atomically and durably."""
    atomic.replace_file(path, encode_record(record))


def encode_record(record: BaseModel) -> bytes:
    """The bytes of a record as they lie on the volume: JSON, indented, one newline at the end."""
    return record.model_dump_json(indent=1).encode() + b"\n"


class LineWriter:
    """Appends records to one JSON-lines file, a line a write. `within` is a folder above it that is not made."""

    def __init__(self, path: Path, *, within: Path | None = None) -> None:
        self._lines = atomic.LineAppender(path, within=within)

    def append(self, record: BaseModel) -> None:
        """Appends one record."""
        self._lines.append(record.model_dump_json().encode())

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()


def read_lines(path: Path, kind: type[R], *, offset: int = 0) -> Iterator[tuple[int, R]]:
    """The records of a JSON-lines file from byte `offset` on, each with the offset behind it.

    A torn last line is not yielded (it may still be being written), and a line that is no record is passed over.
    A missing file has no lines.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                try:
                    yield offset, kind.model_validate_json(line)
                except ValidationError:
                    continue
    except (FileNotFoundError, NotADirectoryError):
        return
