"""The command line's settings: where the gateway is, besides what every service is told."""

from pathlib import Path

from pydantic import Field, SecretStr

from shared.settings import Settings


class CliSettings(Settings):
    """Settings of `tandem`. `volume` is used by the commands that work on files, such as `up` and `data`."""

    url: str = Field(
        default="http://127.0.0.1:8000", pattern=r"^https?://[^/]+(/.*)?$", description="the gateway's address"
    )
    cifar10_dir: Path | None = Field(default=None, description="a folder with CIFAR-10, for `tandem up`")
    gateway_keys: Path | None = Field(default=None, description="the key file of the gateway, for `tandem keys`")
    api_key: SecretStr | None = Field(default=None, description="sent to a gateway that asks for a key")
