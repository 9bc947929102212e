"""The spec of one run, made of its parts."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from shared.spec.parts import (
    AlternateSharing,
    AugmentSpec,
    BesideSharing,
    CadenceSpec,
    CosineRate,
    DatasetSpec,
    DivergenceSpec,
    EmaSpec,
    EvaluationSpec,
    ExponentialRate,
    ModelSpec,
    OptimizerSpec,
    Part,
    RateSpec,
    RetentionSpec,
    SharingSpec,
    UntilSpec,
)

DeviceName = Annotated[str, Field(pattern=r"^(GPU|CPU):[0-9]{1,3}$")]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


class RunSpec(Part):
    """One run. See the package for what it promises."""

    schema_version: Literal[1] = 1
    name: str = Field(default="run", pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")
    labels: dict[str, str] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0, lt=2**31)
    steps: int = Field(default=1_000_000, ge=1, le=10**12)
    batch_size: int = Field(default=128, ge=1, le=65_536)
    dataset: DatasetSpec = DatasetSpec()
    augment: AugmentSpec = AugmentSpec()
    model: ModelSpec = ModelSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    learning_rate: RateSpec = ExponentialRate()
    ema: EmaSpec = EmaSpec()
    cadence: CadenceSpec = CadenceSpec()
    devices: Literal["all"] | tuple[DeviceName, ...] | None = Field(
        default=None,
        max_length=64,
        description="that share each batch: all, or names; null: one. May change when a run goes on",
    )
    precision: Precision | Literal["auto"] = Field(
        default="float32",
        description="of activations and gradients; weights, averages and checkpoints are float32. auto: mixed_bfloat16"
        " on a processor that has instructions for it, float32 elsewhere",
    )
    xla: bool = Field(default=False, description="compile the step with XLA; on one device")
    evaluation: EvaluationSpec = EvaluationSpec()
    retention: RetentionSpec = RetentionSpec()
    sharing: SharingSpec = BesideSharing()
    until: UntilSpec = UntilSpec()
    on_divergence: DivergenceSpec = DivergenceSpec()
    promotion: Literal["better", "significant"] = Field(
        default="better",
        description="when the alias best moves: to a higher precision, or only where McNemar's test says so at 5%",
    )
    max_restarts: int | None = Field(
        default=None, ge=0, le=10**6, description="of trainers that died; null: as many as make new checkpoints"
    )

    @field_validator("on_divergence", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"action": value} if isinstance(value, str) else value

    @field_validator("devices")
    @classmethod
    def _of_one_kind(cls, value: Literal["all"] | tuple[str, ...] | None) -> Literal["all"] | tuple[str, ...] | None:
        if isinstance(value, tuple):
            if not value or len(set(value)) != len(value):
                raise ValueError("name each device once, such as [GPU:0, GPU:1], or all")
            if len({name[:3] for name in value}) > 1:
                raise ValueError("GPUs and processors do not share a batch: name devices of one kind")
        return value

    @model_validator(mode="after")
    def _warmup_fits(self) -> "RunSpec":
        if isinstance(self.learning_rate, CosineRate) and self.learning_rate.warmup_steps >= self.steps:
            raise ValueError(f"learning_rate.warmup_steps must be less than steps ({self.steps})")
        return self

    @model_validator(mode="after")
    def _compiled_for_one(self) -> "RunSpec":
        if self.xla and isinstance(self.devices, tuple) and len(self.devices) > 1:
            raise ValueError(f"xla compiles a step for one device, and devices names {len(self.devices)}")
        return self

    @property
    def weights_kinds(self) -> tuple[str, ...]:
        """The kinds of weights each checkpoint carries: `raw`, then `ema-<decay>` for each decay."""
        return ("raw", *(ema_kind(decay) for decay in self.ema.decays))

    @property
    def alternates(self) -> bool:
        """Whether trainer and evaluator take turns in one slot."""
        return isinstance(self.sharing, AlternateSharing)

    @property
    def primary_ema(self) -> str:
        """The kind that is exported and served."""
        return ema_kind(self.ema.decays[0])


def ema_kind(decay: float) -> str:
    """The name of the weights averaged with this decay, as in file names: `ema-0.9999`."""
    if not (math.isfinite(decay) and 0 < decay < 1):
        raise ValueError(f"a decay lies between 0 and 1, not {decay}")
    return f"ema-{decay!r}"
