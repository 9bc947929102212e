"""How services read their settings: environment variables with the prefix TANDEM_, checked before anything starts."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.errors import SettingsError

PREFIX = "TANDEM_"


class Settings(BaseSettings):
    """What every service is told. A field `name` is read from the variable `TANDEM_NAME`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    volume: Path = Field(default=Path("volume"), description="the folder that all services share")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$", description="of the printed log")


def _names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


# Dotted module names, separated by commas.
ModuleNames = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$")], ...],
    NoDecode,
    BeforeValidator(_names),
]


S = TypeVar("S", bound=Settings)


def load_settings(kind: type[S], **flags: Any) -> S:
    """Settings from the environment, with command line flags laid over them (None means: not given).

    Raises:
        SettingsError: A value is bad; names the variable.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return kind(**given)
    except ValidationError as error:
        problems = []
        for item in error.errors(include_url=False):
            name = str(item["loc"][0]) if item["loc"] else ""
            problems.append((f"--{name.replace('_', '-')}" if name in given else PREFIX + name.upper(), item["msg"]))
        text = "; ".join(f"{name}: {message}" for name, message in problems)
        raise SettingsError(text, where=", ".join(name for name, _ in problems)) from error
