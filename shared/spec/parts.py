"""The parts of a spec: what is learnt from and how, what is written and kept, what is judged, what ends it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Part(BaseModel):
    """Base of every part of a spec: immutable, no unknown keys, no silent conversions from text to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetSpec(Part):
    """Which images to train on and to evaluate on.

    `path` is a folder (or an .npz file) of the machine that trains; without it the files are looked for at
    `datasets/<kind>` on the volume. `shapes` needs no files: it is generated from its `seed`. `docs/datasets.md` says
    how the files of each kind are laid out.
    """

    kind: Literal["cifar10", "cifar100", "folder", "npz", "idx", "shapes"] = "cifar10"
    path: str | None = None
    holdout: int = Field(
        default=0, ge=0, description="training examples to hold out and evaluate on instead of the test split"
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the generator; used by `shapes` alone")
    train_examples: int = Field(default=20_000, ge=1, le=10_000_000, description="used by `shapes` alone")
    test_examples: int = Field(default=2_000, ge=1, le=10_000_000, description="used by `shapes` alone")
    image_size: int = Field(
        default=32, ge=8, le=1024, description="side of the decoded squares; used by `folder` alone"
    )
    classes: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] | None = Field(
        default=None,
        min_length=2,
        max_length=10_000,
        description="names in the order of the labels; used by `npz` and `idx`, whose files carry none",
    )


class AugmentSpec(Part):
    """How a training picture is distorted. Evaluation uses `crop` (centrally) and the standardisation alone.

    `brightness` is the greatest shift on the scale 0-255; `contrast` the range of the factor around each channel's
    mean. With `pad` the picture is first padded by reflection on every side, then cropped at random. `flip: alternate`
    tosses a coin for each example once, and from then on mirrors it in every second epoch: any two epochs in a row show
    both sides of everything, where coins at each step would show half of the examples the same way again.
    """

    crop: int | None = Field(default=24, ge=1, le=4096, description="side of the square crop; null: the whole picture")
    pad: int = Field(default=0, ge=0, le=64)
    flip: bool | Literal["alternate"] = True
    cutout: int = Field(default=0, ge=0, le=4096, description="side of a square greyed at a random place; 0: none")
    brightness: NotNegative = 63.0
    contrast: tuple[Positive, Positive] | None = (0.2, 1.8)
    standardize: Literal["image", "dataset"] = "image"

    @field_validator("contrast")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"the lower bound {value[0]} is above the upper bound {value[1]}")
        return value


class ModelSpec(Part):
    """The network: a name of `shared.ml.models` or a function of the operator's, and that network's own options.

    `my_module:build` names a function on the import path of trainer and evaluator, which they must have been allowed.
    """

    name: str = Field(
        default="tutorial",
        max_length=200,
        pattern=r"^([a-z0-9][a-z0-9-]*|[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*)$",
    )
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)


class OptimizerSpec(Part):
    """How weights follow gradients: plain SGD, or with (Nesterov) momentum, and decoupled weight decay if asked.

    Under `muon` the kernels of convolutions go the same way in all directions at once: what momentum gives is made
    orthogonal first. For networks with batch normalisation. Everything else follows as under `sgd`.
    """

    kind: Literal["sgd", "muon"] = "sgd"
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    nesterov: bool = False
    weight_decay: NotNegative = Field(default=0.0, description="decoupled, multiplied by the rate; kernels alone")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    bias_rate: Positive = Field(
        default=1.0, description="factor of the rate, for biases and the shifts of batch normalisation alone"
    )
    muon_rate: Positive = Field(default=0.2, description="factor of the rate, for kernels of convolutions under muon")


class ConstantRate(Part):
    """The same learning rate at every step."""

    kind: Literal["constant"] = "constant"
    rate: Positive = 0.1


class ExponentialRate(Part):
    """rate = initial * factor ** (epochs / every_epochs), the exponent floored if `staircase`."""

    kind: Literal["exponential"] = "exponential"
    initial: Positive = 0.1
    factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    every_epochs: Positive = 350.0
    staircase: bool = True


class CosineRate(Part):
    """From `initial` down to `final` along half a cosine over all steps of the run, after a linear warm-up."""

    kind: Literal["cosine"] = "cosine"
    initial: Positive = 0.1
    final: NotNegative = 0.0
    warmup_steps: int = Field(default=0, ge=0)


class OneCycleRate(Part):
    """A triangle: from `start` up to `peak` over the share `warmup` of all steps, then down to `final`, both linear."""

    kind: Literal["one-cycle"] = "one-cycle"
    peak: Positive = 0.1
    start: NotNegative = 0.0
    final: NotNegative = 0.0
    warmup: Fraction = 0.2


RateSpec = Annotated[
    ConstantRate | ExponentialRate | CosineRate | OneCycleRate,
    Field(discriminator="kind"),
]


class EmaSpec(Part):
    """Exponential moving averages of the weights. The first decay is the one that is exported and served."""

    decays: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = Field(default=(0.9999,), min_length=1, max_length=8)

    @field_validator("decays")
    @classmethod
    def _distinct(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a decay is named twice")
        return value


class CadenceSpec(Part):
    """How often, in steps; `checkpoint_seconds` commits one besides when so much wall time has passed.

    `summary_steps` is how often TensorBoard's event files get what `docs/tensorboard.md` lists; null: no event files.
    """

    log_steps: int = Field(default=10, ge=1)
    summary_steps: int | None = Field(default=100, ge=1)
    checkpoint_steps: int = Field(default=1_000, ge=1)
    checkpoint_seconds: Positive | None = None


class RetentionSpec(Part):
    """Which checkpoints are kept: the union of the newest `latest`, the `best` by EMA precision, `every_steps`.

    The last one of a finished run, pinned ones, and those an evaluator is reading are always kept.
    """

    latest: int = Field(default=5, ge=1)
    best: int = Field(default=1, ge=0)
    every_steps: int | None = Field(default=None, ge=1, description="keeps those whose step is a multiple of it")


class EvaluationSpec(Part):
    """How checkpoints are evaluated."""

    batch_size: int = Field(default=500, ge=1, le=100_000)
    top_k: int = Field(default=5, ge=1, le=1_000)


class BesideSharing(Part):
    """The evaluator works at the same time, on the processor or on a GPU of its own."""

    kind: Literal["beside"] = "beside"


class AlternateSharing(Part):
    """Trainer and evaluator take turns on one device; each exits before the other starts.

    After each multiple of `every_steps` the trainer commits a checkpoint and exits; what was committed since the last
    turn is judged in its slot, as far as retention keeps it; then a trainer goes on.
    """

    kind: Literal["alternate"]
    every_steps: int = Field(default=1_000, ge=1)


SharingSpec = Annotated[BesideSharing | AlternateSharing, Field(discriminator="kind")]


class DivergenceSpec(Part):
    """What becomes of a run whose loss or weights are no finite numbers any more, or whose loss explodes.

    `fail` ends it, with its last good checkpoint kept. `rollback` goes back to that checkpoint and on from there at
    `rate_factor` times the rate, `rollbacks` times at most. A cross entropy of more than `explosion` times that of
    guessing (the logarithm of the number of classes) counts as exploded; null: none does.
    """

    action: Literal["fail", "rollback"] = "fail"
    rollbacks: int = Field(default=3, ge=1, le=100)
    rate_factor: float = Field(default=0.5, gt=0.0, lt=1.0)
    explosion: Positive | None = 100.0


class PlateauSpec(Part):
    """No gain: the best EMA precision at 1 grew by no more than `gain` over the last `evaluations` verdicts on it."""

    evaluations: int = Field(ge=1, le=10_000)
    gain: Fraction = 0.0


class UntilSpec(Part):
    """What ends a run before its last step, whichever comes first: it is stopped, with a last checkpoint.

    Precisions are those at 1 of the evaluator's verdicts, of the average that is served and of the raw weights.
    `wall_seconds` counts while a trainer works on the run; `cost` is that time at the gateway's price for an hour.
    """

    ema_precision: Fraction | None = None
    raw_precision: Fraction | None = None
    plateau: PlateauSpec | None = None
    wall_seconds: Positive | None = None
    cost: Positive | None = None
