"""Lines of JSON-lines files, made ready to be sent, and a window onto the newest of them that is kept in memory."""

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHUNK = 2**18

Values = dict[str, Any]
Render = Callable[[Values], Values]
"""From what stands in a line to what is sent of it. May raise LookupError, TypeError or ValueError: then nothing is."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file.

    Attributes:
        end: The offset behind it.
        values: What stands in it; empty if it is no JSON object.
        data: What is sent of it, as JSON on one line; None if it is not what it should be.
    """

    end: int
    values: Values
    data: bytes | None

    @property
    def time(self) -> float:
        """When it was written, in seconds since the epoch; serves only to put lines of several files in order."""
        time = self.values.get("time")
        return float(time) if isinstance(time, int | float) and math.isfinite(time) else 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """The newest lines of a file: all of those behind the offset `start`."""

    start: int = 0
    end: int = 0
    lines: tuple[Line, ...] = ()

    def since(self, offset: int) -> Sequence[Line] | None:
        """The lines behind an offset, or None if some of them are no longer in the window."""
        if offset == self.end:
            return ()
        if not self.start <= offset < self.end:
            return None
        return self.lines[bisect_right(self.lines, offset, key=lambda line: line.end) :]

    def extended(self, lines: Sequence[Line], *, kept: int) -> "Window":
        """The window with more lines at its end, of which it keeps the newest."""
        if not lines:
            return self
        together = (*self.lines, *lines)
        dropped, rest = together[:-kept], together[-kept:]
        return Window(start=dropped[-1].end if dropped else self.start, end=lines[-1].end, lines=rest)


def read_chunk(path: Path, offset: int, *, render: Render, base: int = 0) -> list[Line]:
    """The whole lines of at most `CHUNK` bytes of a file, from an offset on. A file that is not there has none.

    Args:
        path: The file.
        offset: Where to begin, counted as the lines' ends are.
        render: Makes what is sent of a line.
        base: The offset that the file's first byte counts as.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset - base)
            data = file.read(CHUNK)
    except OSError:
        return []
    whole, newline, _ = data.rpartition(b"\n")
    if not newline:
        # A torn last line is waited for; one that fills the chunk is nothing that any service writes.
        return [Line(end=offset + len(data), values={}, data=None)] if len(data) == CHUNK else []
    lines = []
    for text in whole.split(b"\n"):
        offset += len(text) + 1
        lines.append(_line(text, end=offset, render=render))
    return lines


def last_line_end(path: Path) -> int:
    """The offset behind the last whole line of a file; 0 if there is none."""
    try:
        with path.open("rb") as file:
            position = file.seek(0, 2)
            while position:
                begin = max(0, position - CHUNK)
                file.seek(begin)
                found = file.read(position - begin).rfind(b"\n")
                if found >= 0:
                    return begin + found + 1
                position = begin
    except OSError:
        pass
    return 0


def encode(values: Values) -> bytes:
    """Values as JSON on one line. NaN and infinities, which JSON has not, must be gone by now."""
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _line(text: bytes, *, end: int, render: Render) -> Line:
    try:
        values = json.loads(text, parse_constant=lambda _: None)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        return Line(end=end, values={}, data=None)
    try:
        return Line(end=end, values=values, data=encode(render(values)))
    except (LookupError, TypeError, ValueError):
        return Line(end=end, values=values, data=None)
