"""Records that are appended to one JSON-lines file, a line a write, and the events that every service writes so."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from shared import atomic
from shared.records.record import Value

R = TypeVar("R", bound=BaseModel)


class Event(Value):
    """One line of an `events.jsonl`: what happened, when, why."""

    time: float
    service: Literal["trainer", "evaluator", "gateway"]
    kind: str
    message: str
    step: int | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class LineWriter:
    """Appends records to one JSON-lines file, a line a write. `within` is a folder above it that is not made."""

    def __init__(self, path: Path, *, within: Path | None = None) -> None:
        self._lines = atomic.LineAppender(path, within=within)

    def append(self, record: BaseModel) -> None:
        """Appends one record."""
        self._lines.append(record.model_dump_json().encode())

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()


def read_lines(path: Path, kind: type[R], *, offset: int = 0) -> Iterator[tuple[int, R]]:
    """The records of a JSON-lines file from byte `offset` on, each with the offset behind it.

    A torn last line is not yielded (it may still be being written), and a line that is no record is passed over.
    A missing file has no lines.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                try:
                    yield offset, kind.model_validate_json(line)
                except ValidationError:
                    continue
    except (FileNotFoundError, NotADirectoryError):
        return


def newest_line(path: Path, kind: type[R], *, within: int, where: Callable[[R], bool] = lambda _: True) -> R | None:
    """The newest record of a JSON-lines file, or None if there is none.

    Args:
        path: The file, which may be missing. A torn last line counts as little as for `read_lines`.
        kind: What it is.
        within: How many bytes at the file's end are looked through.
        where: Which one is meant.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - within))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return None
    for line in reversed(lines):
        try:
            record = kind.model_validate_json(line)
        except ValidationError:
            continue
        if where(record):
            return record
    return None
