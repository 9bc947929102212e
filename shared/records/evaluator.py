"""What an evaluator writes: verdicts, leases, what each export holds, how it is."""

from typing import Literal

from pydantic import Field

from shared.records.files import FileName, FileRecord
from shared.records.judgements import Calibration, Comparison, Drift, Recalibrated
from shared.records.record import Record, Value
from shared.spec import ema_kind


class ClassFigures(Value):
    """How one class was judged. A figure whose denominator is zero is None."""

    name: str
    examples: int
    precision: float | None
    recall: float | None
    f1: float | None


class Verdict(Record):
    """`evaluations/<step>/<kind>.json`: the judgement of one kind of weights of one checkpoint.

    `precision_at_1` is the share of examples whose most probable class is the label; `interval` is its Wilson score
    interval at 95%. `confusion[i][j]` counts examples of class i taken for class j. `status` other than `judged` means
    that the checkpoint could not be judged, and `problem` says why; then there are no figures. `failed` is for good,
    `corrupt` for as long as the checkpoint's files lie there as they did then: `appearance` says how.

    `answers` is the file beside it that holds the answer to each example. `comparison` is None for the first of its
    kind, `drift` where the checkpoint before it is gone, `recalibrated` without batch normalisation.
    """

    run: str
    step: int = Field(ge=0)
    weights: Literal["raw", "ema"]
    decay: float | None = None
    status: Literal["judged", "corrupt", "failed"] = "judged"
    problem: str | None = None
    appearance: str = ""
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

    @property
    def kind(self) -> str:
        """The kind of weights that was judged: `raw`, or `ema-<decay>`."""
        return "raw" if self.decay is None else ema_kind(self.decay)


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
