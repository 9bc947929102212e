"""A record: a small frozen value in a JSON file of its own, read whole or not at all.

Each carries `schema_version`; one that this release does not know is a named error, never a guess.
"""

import json
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from shared import atomic
from shared.errors import CorruptRecordError, UnknownSchemaError

SCHEMA_VERSION = 1


class Value(BaseModel):
    """Base of what records and lines are made of. An unknown key, or a missing one without default, is corruption."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Record(Value):
    """Base of every record."""

    schema_version: Literal[1] = 1


R = TypeVar("R", bound=BaseModel)


def read_record(path: Path, kind: type[R]) -> R:
    """The record at `path`.

    Raises:
        FileNotFoundError: There is none.
        UnknownSchemaError: It is of another schema version.
        CorruptRecordError: It is not what its schema says.
    """
    return parse_record(path.read_bytes(), kind, source=path)


def read_record_or_none(path: Path, kind: type[R]) -> R | None:
    """The record at `path`, or None if there is none. Raises like `read_record` otherwise."""
    try:
        return read_record(path, kind)
    except (FileNotFoundError, NotADirectoryError):
        return None


def parse_record(data: bytes, kind: type[R], *, source: Path) -> R:
    """The record in `data`, which was read from `source`. Raises like `read_record`."""
    try:
        return kind.model_validate_json(data)  # which refuses other schema versions too
    except ValidationError as error:
        raise _named(error, data, source) from error


def _named(error: ValidationError, data: bytes, source: Path) -> CorruptRecordError | UnknownSchemaError:
    """What is wrong with a record, by name."""
    try:
        values = json.loads(data)
    except ValueError:
        return CorruptRecordError("not JSON", where=str(source))
    version = values.get("schema_version", SCHEMA_VERSION) if isinstance(values, dict) else SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        return UnknownSchemaError(
            f"has schema version {version!r}; this release knows {SCHEMA_VERSION}",
            where=str(source),
            hint="Use the release of tandem that wrote it, or a newer one",
        )
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return CorruptRecordError(f"{field or 'the record'}: {first['msg']}", where=str(source))


def write_record(path: Path, record: BaseModel) -> None:
    """Puts `record` in place at `path`, atomically and durably."""
    atomic.replace_file(path, encode_record(record))


def encode_record(record: BaseModel) -> bytes:
    """The bytes of a record as they lie on the volume: JSON, indented, one newline at the end."""
    return record.model_dump_json(indent=1).encode() + b"\n"
