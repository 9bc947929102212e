"""What the gateway is told: environment variables with the prefix TANDEM_, and flags laid over them."""

import shlex
import sys
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from services.gateway.predict.settings import PredictSettings
from shared import recipes
from shared.keys import Scope


class GatewaySettings(PredictSettings):
    """See `docs/operations.md` for what each is good for."""

    gateway_host: str = Field(default="127.0.0.1", min_length=1, description="the address to listen at")
    gateway_port: int = Field(default=8000, ge=0, le=65_535, description="the port to listen at; 0 takes a free one")
    gateway_keys: Path | None = Field(
        default=None,
        description="the file of the API keys; none: nobody is asked for one, and only this machine can ask",
    )
    gateway_launcher: Literal["process", "docker"] = Field(
        default="process",
        description="whether trainers are processes of this machine, or containers of a compose project",
    )
    gateway_slots: int = Field(default=1, ge=0, le=64, description="how many processes may train at once")
    gateway_docker_url: str = Field(
        default="unix:///var/run/docker.sock", description="where the Docker engine, or docker-proxy before it, answers"
    )
    gateway_docker_project: str = Field(
        default="tandem", pattern="^[a-z0-9][a-z0-9_-]*$", description="the compose project whose trainers are slots"
    )
    gateway_docker_seconds: float = Field(default=5.0, gt=0, le=60, description="for an answer of the Docker engine")
    gateway_recipes: Path = Field(default=recipes.FOLDER, description="the folder of the recipes")
    gateway_poll_seconds: float = Field(default=0.5, gt=0, le=60, description="between two looks at the volume")
    gateway_silence_seconds: float = Field(
        default=30.0, gt=0, description="without a heartbeat after which a trainer started by hand counts as gone"
    )
    gateway_attempts: int = Field(
        default=5, ge=1, le=1_000, description="trainers in a row that may die without a new checkpoint"
    )
    gateway_backoff_seconds: float = Field(default=1.0, gt=0, description="before the first restart; then doubled")
    gateway_longest_backoff_seconds: float = Field(default=60.0, gt=0, description="where the doubling ends")
    gateway_stop_grace_seconds: float = Field(
        default=120.0, gt=0, description="for a trainer to pause or stop by itself, and again after SIGTERM"
    )
    gateway_price_per_hour: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="of a slot, in whatever currency `until.cost` is meant in"
    )
    gateway_trainer_command: str = Field(
        default="{python} -m services.trainer --volume {volume} --slot {slot}",
        min_length=1,
        description="the command line of a trainer, split as a shell would",
    )
    gateway_slot_log_bytes: int = Field(
        default=8 * 2**20, ge=4096, description="of a slot's printed output that are kept, twice"
    )
    gateway_body_bytes: int = Field(default=2**20, ge=1024, description="the longest body, pictures apart")
    gateway_read_rate: float = Field(
        default=200.0, ge=0, le=1e6, description="requests a second of one client that read; 0: as many as it likes"
    )
    gateway_predict_rate: float = Field(default=5_000.0, ge=0, le=1e6, description="likewise, that classify")
    gateway_control_rate: float = Field(default=50.0, ge=0, le=1e6, description="likewise, that change something")
    gateway_webhooks: Path | None = Field(default=None, description="the file of webhooks; none: nothing is sent")
    gateway_streams: int = Field(default=256, ge=1, le=10_000, description="how many streams may be open at once")
    gateway_stop_slots_on_exit: bool = Field(
        default=False, description="when the gateway ends in order, trainers release their slots too"
    )

    @property
    def rates(self) -> dict[Scope, float]:
        """Requests a second of one client, by scope."""
        return {
            "read": self.gateway_read_rate,
            "predict": self.gateway_predict_rate,
            "control": self.gateway_control_rate,
        }

    @field_validator("gateway_trainer_command")
    @classmethod
    def _fillable(cls, value: str) -> str:
        fill(value, volume=Path(), slot="")
        return value

    def trainer_command(self, slot: str) -> list[str]:
        """The words of the command line of a trainer for a slot."""
        return fill(self.gateway_trainer_command, volume=self.volume.absolute(), slot=slot)


def fill(command: str, *, volume: Path, slot: str) -> list[str]:
    """The words of a command line, with `{python}`, `{volume}` and `{slot}` filled in.

    Raises:
        ValueError: It names something else, or has a quotation mark without its partner.
    """
    try:
        return [word.format(python=sys.executable, volume=volume, slot=slot) for word in shlex.split(command)]
    except (KeyError, IndexError) as error:
        raise ValueError("only {python}, {volume} and {slot} can be filled in") from error
