"""The file of webhooks, which the operator writes, and the gateway reads when it starts and whenever it has changed.

webhooks:
  - name: team
    url: https://hooks.example.org/tandem
    secret_file: team.secret          # beside this file, or anywhere
    events: [state, best, threshold]  # which it is without this line; also evaluation, removed
    states: [completed, failed]       # only these; all without this line
    thresholds: {ema: 0.86, raw: 0.85}
"""

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from shared.errors import SettingsError
from shared.states import State

EventKind = Literal["state", "best", "threshold", "evaluation", "removed"]
SECRET_PREFIX = "whsec_"  # nosec B105 # how secrets begin, and none itself
LEAST_SECRET_BYTES = 24
VARIABLE = "TANDEM_GATEWAY_WEBHOOKS"
_UNREAD = object()


class Thresholds(BaseModel):
    """Precisions at 1 that are told of when a run first reaches them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ema: float | None = Field(default=None, gt=0, le=1)
    raw: float | None = Field(default=None, gt=0, le=1)


class Webhook(BaseModel):
    """Where something is sent, and what.

    Attributes:
        name: For people, metrics, and the file of its position.
        url: Where it is sent; may hold secrets of its own, so it is never logged.
        secret_file: Holds what requests are signed with; read whenever something is sent.
        events: What is sent.
        states: Changes to which states are.
        thresholds: Which precisions are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    url: str = Field(pattern=r"^https?://[^/\s]+\S*$", max_length=2_000, repr=False)
    secret_file: Path
    events: tuple[EventKind, ...] = ("state", "best", "threshold")
    states: tuple[State, ...] | None = None
    thresholds: Thresholds = Thresholds()

    @field_validator("url")
    @classmethod
    def _usable(cls, url: str) -> str:
        parts = urlsplit(url)
        if not parts.hostname or parts.username is not None or parts.fragment:
            raise ValueError("is no address of a receiver: a host, no user, no fragment")
        _ = parts.port  # raises where it is none
        return url


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    webhooks: list[Webhook]

    @model_validator(mode="after")
    def _named_once(self) -> "_File":
        if len({hook.name for hook in self.webhooks}) != len(self.webhooks):
            raise ValueError("two webhooks have the same name")
        return self


def load(path: Path | None) -> list[Webhook]:
    """The webhooks of a file; none without one.

    Raises:
        SettingsError: It cannot be read, is not what it should be, or a secret is missing or too short.
    """
    if path is None:
        return []
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        hooks = _File.model_validate(values).webhooks
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}", where=VARIABLE) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not YAML", where=VARIABLE) from error
    except ValidationError as error:
        # Of a wrong value only the place is told: it may be a secret.
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path}: {field}: {first['msg']}", where=VARIABLE) from error
    hooks = [hook.model_copy(update={"secret_file": path.parent / hook.secret_file}) for hook in hooks]
    for hook in hooks:
        secrets_of(hook)
    return hooks


class WebhooksFile:
    """Says when the file has become another one.

    Args:
        path: The file; None: there are no webhooks.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read: object = _UNREAD
        self._seen: object = None

    def read(self) -> list[Webhook]:
        """The webhooks, as they are now. Raises like `load`."""
        found = self._signature()
        hooks = load(self._path)
        self._read = self._seen = found
        return hooks

    def news(self) -> list[Webhook] | None:
        """The webhooks, if the file is another one than was last read; None if it is not.

        It must have been found twice in the same state, so that none is read that is still being written.

        Raises:
            SettingsError: Like `load`, and again each time until it can be used.
        """
        found = self._signature()
        still, self._seen = found == self._seen, found
        if found == self._read or not still:
            return None
        self._read = _UNREAD
        return self.read()

    def _signature(self) -> object:
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except OSError as error:
            return str(error)
        return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode)


def secrets_of(hook: Webhook) -> Sequence[bytes]:
    """What requests are signed with: one secret a line, so that a receiver may be moved from one to the next.

    Raises:
        SettingsError: There is none, or it is too short.
    """
    try:
        lines = hook.secret_file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"the secret of the webhook {hook.name} cannot be read", where=str(hook.secret_file)
        ) from error
    secrets = [_decoded(line) for line in lines]
    if not secrets or min(map(len, secrets)) < LEAST_SECRET_BYTES:
        raise SettingsError(
            f"the secret of the webhook {hook.name} is shorter than {LEAST_SECRET_BYTES} bytes",
            where=str(hook.secret_file),
            hint=f"Make one with: echo {SECRET_PREFIX}$(head -c 32 /dev/urandom | base64)",
        )
    return secrets


def _decoded(text: str) -> bytes:
    if not text.startswith(SECRET_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        return b""
