"""What the routes answer with: typed views of runs, evaluations, checkpoints and slots, and how they are made."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.errors import ErrorView
from services.gateway.index import Run
from services.gateway.steering.situation import Situation
from services.gateway.steering.transitions import Transition
from services.gateway.steering.turns import Turns
from shared.records import CheckpointManifest, Comparison, Device, Verdict
from shared.states import State

RUN_ID = "20260301-101500-shapes-3f9c"


class EvaluationView(BaseModel):
    """The figures of one verdict."""

    step: int
    weights: Literal["raw", "ema"]
    decay: float | None = Field(description="of the moving average")
    status: Literal["judged", "corrupt", "failed"]
    problem: str | None
    examples: int
    precision_at_1: float | None = Field(description="share of the test set whose most probable class is right")
    interval: tuple[float, float] | None = Field(description="Wilson score interval of it at 95%")
    top_k: int
    precision_at_k: float | None
    loss: float | None
    calibration_error: float | None = Field(description="expected calibration error, in 15 bins")
    comparison: Comparison | None = Field(description="McNemar's test against the best of the same kind so far")
    drift: float | None = Field(description="of all weights since the checkpoint before, relative to their norm")
    recalibrated_precision_at_1: float | None = Field(
        description="with batch normalisation's statistics taken anew; of averages of networks that have it"
    )
    seconds: float
    evaluator: str
    time: float


class BestView(BaseModel):
    """The best judged weights of a run: of the served average if it was judged, or else the raw ones."""

    step: int
    weights: Literal["raw", "ema"]
    decay: float | None
    precision_at_1: float
    interval: tuple[float, float] | None


class FailureView(BaseModel):
    """Why a trainer failed, in its own words."""

    code: str | None = None
    message: str | None = None
    where: str | None = None
    hint: str | None = None


class ForkedFromView(BaseModel):
    """A checkpoint of another run."""

    run: str
    step: int


class SharingView(BaseModel):
    """How trainer and evaluator of a run that alternates have taken turns, over whole periods."""

    periods: int
    period_seconds: float | None = Field(description="how long the last one took")
    training: float = Field(description="share of the time in which steps were made")
    evaluating: float = Field(description="share in which checkpoints were judged and exported")
    switching: float = Field(description="share in which processes ended and started")


class RunView(BaseModel):
    """One run as it stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": RUN_ID,
                "name": "shapes",
                "labels": {},
                "state": "running",
                "reason": "trains, in slot slot-0",
                "created": 1772360100.0,
                "spec": {"name": "shapes", "steps": 1200},
                "slot": "slot-0",
                "step": 310,
                "steps": 1200,
                "progress": 0.2583,
                "loss": 1.42,
                "average_loss": 1.51,
                "learning_rate": 0.1,
                "examples_per_second": 1480.0,
                "eta_seconds": 38.5,
                "checkpoint_step": 300,
                "best": {
                    "step": 300,
                    "weights": "ema",
                    "decay": 0.9999,
                    "precision_at_1": 0.6815,
                    "interval": [0.6608, 0.7015],
                },
                "latest": None,
                "failure": None,
                "allowed": ["pause", "extend", "stop", "kill", "fork"],
                "priority": 0,
                "position": None,
                "restarts": 0,
                "forked_from": None,
                "wall_seconds": 61.5,
                "cost": None,
                "sharing": None,
                "numerics": {
                    "device": "cpu",
                    "devices": "CPU:0",
                    "precision": "float32",
                    "xla": "false",
                    "onednn": "1",
                },
            }
        }
    )

    id: str
    name: str
    labels: dict[str, str]
    state: State
    reason: str = Field(description="why it is in this state, in words")
    created: float = Field(description="seconds since the epoch")
    spec: dict[str, Any] = Field(description="everything that decides what it computes")
    slot: str | None = Field(description="where its trainer works")
    step: int
    steps: int
    progress: float = Field(ge=0, le=1)
    loss: float | None
    average_loss: float | None
    learning_rate: float | None
    examples_per_second: float | None
    eta_seconds: float | None = Field(description="to the last step, at the present rate; null unless it trains")
    checkpoint_step: int | None = Field(description="of the newest checkpoint")
    best: BestView | None
    latest: list[EvaluationView] | None = Field(description="the newest verdict on each kind of weights")
    failure: FailureView | None
    allowed: list[Transition] = Field(description="what may be asked of it now; `extend` is `resume` with more steps")
    priority: int = Field(description="of runs that wait, the greatest goes first")
    position: int | None = Field(description="its place in the queue, from 1 on, while it waits")
    restarts: int = Field(description="how many trainers died since it was last asked to train")
    forked_from: ForkedFromView | None = Field(description="the checkpoint it began with")
    wall_seconds: float = Field(description="for how long trainers have worked on it")
    cost: float | None = Field(description="of that time, where the gateway knows a price")
    sharing: SharingView | None = Field(description="of a run that alternates between training and evaluating")
    numerics: dict[str, str] | None = Field(description="what its trainer computes with, which decides the last bits")


class ProblemView(ErrorView):
    """A run that cannot be shown, because a record of it cannot be read."""

    run: str


class RunsView(BaseModel):
    """Runs, oldest first, and those that cannot be read."""

    runs: list[RunView]
    next: str | None = Field(default=None, description="the cursor of the page of older runs, if there are any")
    unread: int = Field(default=0, description="how many runs the gateway has not looked at yet since it began")
    problems: list[ProblemView] = []


class SeriesView(BaseModel):
    """Columns of equal length; a value that is no finite number is null."""

    run: str
    step: list[int]
    loss: list[float | None]
    cross_entropy: list[float | None]
    average_loss: list[float | None]
    learning_rate: list[float | None]
    examples_per_second: list[float | None]
    time: list[float]


class EvaluationsView(BaseModel):
    """Every verdict on a run, by step, then kind of weights."""

    evaluations: list[EvaluationView]


class CheckpointView(BaseModel):
    """One committed checkpoint."""

    step: int
    weights: list[str] = Field(description="the kinds of weights in it", examples=[["raw", "ema-0.9999"]])
    bytes: int | None = Field(description="on the volume")
    loss: float | None
    time: float | None
    pinned: bool = Field(default=False, description="it is kept whatever the specification says")
    exported: bool = Field(default=False, description="there is a model made of it")
    evaluations: list[EvaluationView] = Field(default=[], description="the verdicts on it")
    problem: str | None = Field(default=None, description="why its manifest cannot be used")


class CheckpointsView(BaseModel):
    """The checkpoints of a run that are on the volume, by step."""

    checkpoints: list[CheckpointView]


class SlotView(BaseModel):
    """One place where a trainer can run."""

    name: str
    state: Literal["free", "busy", "kept", "broken"] = Field(description="kept: for a run that is to go on here")
    run: str | None
    pid: int | None
    devices: list[Device] | None = Field(description="as its trainer last found them")
    problem: str | None


class SlotsView(BaseModel):
    """All slots."""

    slots: list[SlotView]


def run_view(situation: Situation) -> RunView:
    """What is shown of a run."""
    run, status, point = situation.run, situation.run.status, situation.run.last_point
    # A trainer that has just begun has not said yet from where it goes on, and one that was killed not how far it came.
    parent = None if run.origin is None else run.origin.parent
    begin = 0 if parent is None else parent.step
    step = max(begin if status is None else status.step, run.checkpoint_step or begin)
    working = situation.state.state == "running" and status is not None
    rate = status.examples_per_second if working and status is not None else None
    return RunView(
        id=run.id,
        name=run.spec.name,
        labels=run.labels,
        state=situation.state.state,
        reason=situation.state.reason,
        created=run.created,
        spec=run.spec.model_dump(mode="json"),
        slot=situation.slot,
        step=step,
        steps=run.steps,
        progress=min(1.0, step / run.steps),
        loss=_finite(point.loss if point is not None else None if status is None else status.loss),
        average_loss=None if point is None else _finite(point.average_loss),
        learning_rate=None if point is None else _finite(point.learning_rate),
        examples_per_second=_finite(rate),
        eta_seconds=(run.steps - step) * run.spec.batch_size / rate if rate else None,
        checkpoint_step=run.checkpoint_step,
        best=best_view(run),
        latest=latest_views(run) or None,
        failure=None if status is None or status.failure is None else FailureView.model_validate(status.failure),
        allowed=list(situation.allowed),
        priority=run.tags.priority,
        position=situation.position,
        restarts=situation.restarts,
        forked_from=None if parent is None else ForkedFromView(run=parent.run, step=parent.step),
        wall_seconds=round(situation.seconds, 3),
        cost=situation.cost,
        sharing=sharing_view(situation.turns) if run.spec.alternates else None,
        numerics=None if status is None else status.numerics or None,
    )


def sharing_view(turns: Turns) -> SharingView:
    """What is shown of the turns of a run."""
    shares = {activity: round(share, 4) for activity, share in turns.shares().items()}
    return SharingView(periods=turns.count, period_seconds=turns.period, **shares)


def best_view(run: Run) -> BestView | None:
    """The best judged weights of a run; of equally good ones the oldest, as with the alias `best`."""
    judged = [each for each in run.verdicts if each.status == "judged" and each.precision_at_1 is not None]
    primary = [each for each in judged if each.kind == run.spec.primary_ema]
    found = max(primary or judged, key=lambda each: (each.precision_at_1 or 0.0, -each.step), default=None)
    if found is None or found.precision_at_1 is None:
        return None
    return BestView(
        step=found.step,
        weights=found.weights,
        decay=found.decay,
        precision_at_1=found.precision_at_1,
        interval=found.interval,
    )


def latest_views(run: Run) -> list[EvaluationView]:
    """The newest verdict on each kind of weights, raw first."""
    newest = {each.kind: each for each in run.verdicts}
    return [evaluation_view(newest[kind]) for kind in sorted(newest, key=lambda kind: (kind != "raw", kind))]


def evaluation_view(verdict: Verdict) -> EvaluationView:
    """What is shown of a verdict among others."""
    values = verdict.model_dump(include=set(EvaluationView.model_fields))
    figures = {
        "loss": _finite(verdict.loss),
        "calibration_error": None if verdict.calibration is None else verdict.calibration.error,
        "drift": None if verdict.drift is None else verdict.drift.total,
        "recalibrated_precision_at_1": None if verdict.recalibrated is None else verdict.recalibrated.precision_at_1,
    }
    return EvaluationView(**{**values, **figures})


def checkpoint_view(manifest: CheckpointManifest) -> CheckpointView:
    """What is shown of a checkpoint."""
    return CheckpointView(
        step=manifest.step,
        weights=list(manifest.weights),
        bytes=sum(file.size for file in manifest.files.values()),
        loss=_finite(manifest.loss),
        time=manifest.time,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
