"""What the evaluator is told."""

import os

from pydantic import Field, field_validator

from services.evaluator.devices import EvaluationDevice
from services.evaluator.policy import Policy
from shared.errors import SettingsError
from shared.layout import SLOT_NAME
from shared.settings import ModuleNames, Settings


class EvaluatorSettings(Settings):
    """Each field is read from `TANDEM_` and its name in capitals."""

    evaluator_name: str | None = Field(
        default=None, description="names evaluators/<name>; without it the first free of evaluator, evaluator-2, …"
    )
    evaluator_policy: str = Field(
        default="newest-first",
        description="what is judged and when: newest-first, all (oldest first), latest, or every:<steps>",
    )
    evaluator_device: str = Field(default="cpu", description="what it judges on: cpu, gpu:<number>, or any")
    model_modules: ModuleNames = Field(
        default=(), description="modules that a run's network may come from, with commas; see docs/custom-models.md"
    )
    evaluator_threads: int = Field(
        default_factory=lambda: max(1, _cores() // 2), ge=1, le=1024, description="of computing; half of the cores"
    )
    evaluator_nice: int = Field(default=10, ge=0, le=19, description="added to the niceness; 19 yields the most")
    evaluator_cache_megabytes: int = Field(
        default=1024, ge=0, description="for test pictures kept ready for the network, between checkpoints"
    )
    evaluator_poll_seconds: float = Field(default=0.5, gt=0, le=60, description="between two looks at the volume")
    evaluator_lease_seconds: float = Field(
        default=30.0, ge=0.5, le=3600, description="without a heartbeat until a lease counts as abandoned"
    )
    evaluator_patience_seconds: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="a damaged checkpoint must lie unchanged before it is condemned: it may still be being copied",
    )
    evaluator_exports: int = Field(default=3, ge=1, description="newest exports kept for each run, besides the best")
    evaluator_answers: int = Field(
        default=200,
        ge=1,
        description="newest answers to each test example kept for each run and kind of weights, besides the best and"
        " those of checkpoints and exports that are kept",
    )
    evaluator_recalibration_examples: int = Field(
        default=2048,
        ge=0,
        description="training pictures to take batch normalisation's statistics anew from, for an average; 0: never",
    )
    evaluator_metrics_host: str = Field(default="127.0.0.1", description="address that /metrics listens on")
    evaluator_metrics_port: int | None = Field(default=None, ge=0, le=65535, description="serves /metrics there")

    @field_validator("evaluator_name")
    @classmethod
    def _is_name(cls, value: str | None) -> str | None:
        if value is not None and not SLOT_NAME.fullmatch(value):
            raise ValueError("lower case letters, digits, hyphens and underscores, at most 40")
        return value

    @field_validator("evaluator_device")
    @classmethod
    def _is_device(cls, value: str) -> str:
        try:
            EvaluationDevice.parse(value)
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("evaluator_policy")
    @classmethod
    def _is_policy(cls, value: str) -> str:
        try:
            Policy.parse(value)
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return value


def _cores() -> int:
    return len(os.sched_getaffinity(0))
