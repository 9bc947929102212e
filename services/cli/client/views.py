"""What the gateway answers, as frozen values. Keys that this release does not know are passed over.

A newer gateway may say more than an older client understands, so these are open where the records on the volume are
closed.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shared.spec import ema_kind
from shared.states import SETTLED


class View(BaseModel):
    """Base of every view."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Failure(View):
    """Why a run failed, in the shape of every error."""

    code: str = "error"
    message: str = ""
    where: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}. {self.hint}" if self.hint else text


class Evaluation(View):
    """The figures of one verdict: the judgement of one kind of weights at one step.

    `precision_at_1` is a share between 0 and 1, `interval` its Wilson score interval at 95%; both are None where
    `status` is not `judged`, and `problem` then says why.
    """

    step: int
    weights: Literal["raw", "ema"]
    decay: float | None = None
    status: str = "judged"
    problem: str | None = None
    examples: int | None = None
    precision_at_1: float | None = None
    interval: tuple[float, float] | None = None
    top_k: int | None = None
    precision_at_k: float | None = None
    loss: float | None = None
    seconds: float | None = None
    time: float | None = None

    @property
    def kind(self) -> str:
        """The kind of weights as the volume names it: `raw` or `ema-<decay>`."""
        return ema_kind(self.decay) if self.decay is not None else self.weights


class Origin(View):
    """The checkpoint that a forked run began with."""

    run: str
    step: int


class Run(View):
    """One run as it stands. `progress` is a share between 0 and 1; what is not known yet is None.

    `allowed` lists what may be asked of it now, `position` is its place in the queue from 1 on, `wall_seconds` for how
    long trainers have worked on it; `numerics` says what its trainer computes with.
    """

    id: str
    name: str
    state: str
    labels: dict[str, str] = {}
    reason: str | None = None
    created: float | None = None
    spec: dict[str, Any] = {}
    slot: str | None = None
    step: int = 0
    steps: int
    progress: float = 0.0
    loss: float | None = None
    average_loss: float | None = None
    learning_rate: float | None = None
    examples_per_second: float | None = None
    eta_seconds: float | None = None
    checkpoint_step: int | None = None
    best: Evaluation | None = None
    latest: tuple[Evaluation, ...] | None = None
    failure: Failure | None = None
    allowed: tuple[str, ...] = ()
    priority: int = 0
    position: int | None = None
    restarts: int = 0
    forked_from: Origin | None = None
    wall_seconds: float | None = None
    cost: float | None = None
    numerics: dict[str, str] | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state in SETTLED


class Series(View):
    """Columns of equal length, one row per logged step, thinned out by the gateway to the number asked for."""

    run: str
    step: tuple[int, ...] = ()
    loss: tuple[float | None, ...] = ()
    average_loss: tuple[float | None, ...] = ()
    learning_rate: tuple[float | None, ...] = ()
    examples_per_second: tuple[float | None, ...] = ()
    time: tuple[float, ...] = ()


class Checkpoint(View):
    """One committed checkpoint: its step, the kinds of weights in it, its size in bytes, and how it was judged."""

    step: int
    weights: tuple[str, ...] = ()
    bytes: int | None = None
    loss: float | None = None
    time: float | None = None
    pinned: bool = False
    exported: bool | None = None
    evaluations: tuple[Evaluation, ...] = ()
    problem: str | None = None


class RunEvent(View):
    """Something that happened to a run: when, by which service, what, and why."""

    time: float
    service: str
    kind: str
    message: str
    step: int | None = None
    details: dict[str, Any] = {}


class Events(View):
    """Events in the order of time; `cursor` asks for those behind them, `more` says whether any were left out."""

    events: tuple[RunEvent, ...]
    cursor: str | None = None
    more: bool = False


class LogLine(View):
    """Something that was printed; `details` is whatever else the line said."""

    time: float
    level: str
    service: str
    message: str
    traceback: str | None = None
    details: dict[str, Any] = {}


class Logs(View):
    """Lines in the order of time; `cursor` asks for those behind them, `more` says whether any were left out."""

    lines: tuple[LogLine, ...]
    cursor: str | None = None
    more: bool = False


class Slot(View):
    """A place where a trainer can run: `free`, `busy`, `kept` for a run that is to go on there, or `broken`."""

    name: str
    state: str
    run: str | None = None
    problem: str | None = None


class BulkResult(View):
    """What became of one run when the same was asked of many: an HTTP status, and the error if it was refused."""

    run: str
    status: int
    error: Failure | None = None


class ClassProbability(View):
    """One class of an answer, with its probability between 0 and 1."""

    label: str
    probability: float


class Prediction(View):
    """The most probable classes of one picture, the most probable first."""

    classes: tuple[ClassProbability, ...]


class Classification(View):
    """An answer to pictures, and which weights gave it."""

    model: str
    run: str
    step: int
    weights: str
    decay: float | None = None
    precision_at_1: float | None = None
    predictions: tuple[Prediction, ...]


class Model(View):
    """What can be asked for a classification under the name `model`, and the judged weights that answer now.

    `aliases` are the names of the run's exports, with their steps.
    """

    model: str
    run: str
    step: int
    weights: str
    decay: float | None = None
    precision_at_1: float | None = None
    classes: tuple[str, ...] = ()
    input_shape: tuple[int, int, int] | None = None
    aliases: dict[str, int] = {}


class Canary(View):
    """An export that answers a share of an alias' requests."""

    step: int
    share: float


class Move(View):
    """An alias came to point at an export."""

    step: int
    reason: str = ""
    time: float | None = None


class Alias(View):
    """What an alias of a run points at, why, and where it pointed before, newest last."""

    alias: str
    step: int
    precision_at_1: float | None = None
    pinned: bool = False
    canary: Canary | None = None
    reason: str = ""
    time: float | None = None
    history: tuple[Move, ...] = ()
