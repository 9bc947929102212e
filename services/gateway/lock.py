"""One gateway per volume: `<volume>/gateway/lock` is locked (flock) for as long as one lives, and says which."""

import fcntl
import json
import os
from pathlib import Path
from typing import IO

from shared.errors import ConflictError
from shared.layout import Volume


class VolumeLock:
    """Held from `take` to `release`, or to the end of the process, however it ends.

    Args:
        volume: What is to have one gateway.
        holder: What a second gateway is told about this one: pid, host.
    """

    def __init__(self, *, volume: Volume, holder: dict[str, str | int]) -> None:
        self._path = volume.gateway / "lock"
        self._holder = holder
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Takes the lock.

        Raises:
            ConflictError: Another gateway has it; names that one.
            OSError: The file cannot be made.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _described(self._path)
            file.close()
            raise ConflictError(
                f"another gateway steers this volume: {holder}",
                where=str(self._path),
                hint="Stop that one first, or name another volume",
            ) from error
        self._file = file
        self.tell()

    def tell(self, **more: str | int) -> None:
        """Writes down who holds the lock, and `more` about it, for whoever comes second."""
        if self._file is not None:
            os.truncate(self._file.fileno(), 0)
            self._file.write(json.dumps({**self._holder, **more}) + "\n")
            self._file.flush()

    def release(self) -> None:
        """Lets go of it."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _described(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return ", ".join(f"{name} {value}" for name, value in holder.items())
    except (OSError, ValueError, AttributeError):
        return "it has not said which"
