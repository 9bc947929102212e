"""What the trainer is told by its environment: nothing of it changes a number that is computed."""

from typing import Annotated

from pydantic import Field

from shared.devices import Device
from shared.settings import ModuleNames, Settings

Seconds = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class TrainerSettings(Settings):
    """Settings of the trainer; see `docs/operations.md`."""

    trainer_device: Device = Field(
        default="auto", description="cpu; gpu: fails where TensorFlow sees none; auto: a GPU where there is one"
    )
    trainer_metrics_host: str = Field(default="127.0.0.1", description="address that /metrics is served at")
    trainer_metrics_port: int | None = Field(default=None, ge=0, le=65_535, description="none: not served; 0: any")
    trainer_threads: int | None = Field(default=None, ge=1, description="processors to use; none: all there are")
    model_modules: ModuleNames = Field(
        default=(), description="modules that a run's network may come from, with commas; see docs/custom-models.md"
    )
    trainer_logical_devices: int | None = Field(
        default=None, ge=1, le=64, description="to divide the processor into, to try `devices` without GPUs"
    )
    trainer_heartbeat_seconds: Seconds = Field(default=1.0, description="between two heartbeats")
    trainer_control_seconds: Annotated[float, Field(gt=0.0, le=0.5)] = Field(
        default=0.25, description="between two looks at what is desired"
    )
    trainer_takeover_seconds: Seconds = Field(
        default=30.0, description="of silence after which a stopped trainer's run is taken over"
    )
    trainer_lease_seconds: Seconds = Field(default=60.0, description="of silence after which a lease counts no more")
    trainer_prefetch: int = Field(default=64, ge=1, le=4_096, description="batches made ahead of the step, at most")
    trainer_steps_per_call: int = Field(default=32, ge=1, le=4_096, description="most steps in one call of the engine")
    trainer_save_patience_seconds: Seconds = Field(
        default=2.0, description="that training waits for the last checkpoint when the next is due"
    )
