"""API keys: a file of their hashes, which `tandem keys` writes and the gateway reads. No secret is ever in it.

A secret is 256 random bits, so one round of SHA-256 keeps it as well as any slow hash would: nobody can try them all.
`docs/decisions/0003-keys.md` says more.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.errors import ConflictError, InputError, NotFoundError, NotWritableError
from shared.locks import exclusive_lock
from shared.records import Record, read_record, read_record_or_none, write_record

Scope = Literal["read", "predict", "control"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "tandem_"
"""Begins every secret, so that people and scanners of repositories know one when they see it."""
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}"


class KeyRecord(BaseModel):
    """One key.

    Attributes:
        name: Whose it is; stands in audit lines.
        scopes: What it opens.
        sha256: Of the whole secret, in hexadecimal digits.
        created: Seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=f"^{NAME}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    created: float


class KeyFile(Record):
    """All keys of a gateway."""

    keys: tuple[KeyRecord, ...] = ()

    @field_validator("keys")
    @classmethod
    def _named_once(cls, keys: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...]:
        if len({key.name for key in keys}) != len(keys):
            raise ValueError("two keys have the same name")
        return keys

    def find(self, secret: str) -> KeyRecord | None:
        """The key of a secret, or None. Takes as long for every secret: each hash is compared whole."""
        asked = digest(secret)
        found = None
        for key in self.keys:
            if hmac.compare_digest(key.sha256, asked):
                found = key
        return found


def digest(secret: str) -> str:
    """What a key file keeps of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def read_keys(path: Path) -> KeyFile:
    """The keys in a file.

    Raises:
        NotFoundError: There is no such file.
        InputError: Anybody may write to it.
        VolumeError: It is not what its schema says.
        OSError: It cannot be read.
    """
    try:
        if path.stat().st_mode & 0o002:
            raise InputError("anybody may write to it", where=str(path), hint=f"chmod o-w {path}")
        return read_record(path, KeyFile)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(
            "there is no such key file", where=str(path), hint="`tandem keys create NAME` makes one"
        ) from error


def create_key(path: Path, *, name: str, scopes: tuple[Scope, ...], clock: Callable[[], float]) -> str:
    """Adds a key to a file, which is made if it is missing.

    Returns:
        The secret, which is kept nowhere.

    Raises:
        ConflictError: There is a key of that name.
        NotWritableError: The file cannot be written.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    key = KeyRecord(
        name=name,
        scopes=tuple(each for each in SCOPES if each in scopes),
        sha256=digest(secret),
        created=clock(),
    )

    def add(keys: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...]:
        if any(each.name == name for each in keys):
            raise ConflictError(
                f"there is a key {name!r} already", where=str(path), hint="Revoke it, or take another name"
            )
        return (*keys, key)

    _change(path, add)
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Takes a key out of a file.

    Raises:
        NotFoundError: There is no such file, or no such key in it.
        NotWritableError: The file cannot be written.
    """

    def remove(keys: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...]:
        kept = tuple(key for key in keys if key.name != name)
        if len(kept) == len(keys):
            there = ", ".join(key.name for key in keys) or "none"
            raise NotFoundError(f"there is no key {name!r}", where=str(path), hint=f"There are: {there}")
        return kept

    read_keys(path)  # nothing is made where there was nothing
    _change(path, remove)


def _change(path: Path, change: Callable[[tuple[KeyRecord, ...]], tuple[KeyRecord, ...]]) -> None:
    try:
        with exclusive_lock(path.with_name(f".{path.name}.lock")):
            file = read_record_or_none(path, KeyFile) or KeyFile()
            write_record(path, KeyFile(keys=change(file.keys)))
    except OSError as error:
        raise NotWritableError(f"cannot be written: {error.strerror}", where=str(path)) from error
