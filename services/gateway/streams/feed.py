"""What happened to all runs, line by line in the order it was noticed: `gateway/feed/<offset>.jsonl`.

A run's own journal says what the gateway did with it; the feed says what others are told of: streams and webhooks. Each
line is a `Change`. The feed is cut into segments, named by the offset that their first byte counts as, so an offset
means the same after old segments were removed, and after the gateway was restarted. The gateway is its one writer.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.gateway.streams.lines import Line, Values, Window, read_chunk
from shared.records import LineWriter

SEGMENT_BYTES = 4 * 2**20
SEGMENTS = 4
MOST_SEGMENTS = 16

ChangeKind = Literal["state", "evaluation", "best", "removed"]


class Change(BaseModel):
    """One line of the feed.

    Attributes:
        kind: `state`: it changed (`from`, `to`, `reason`); `evaluation`: a verdict came; `best`: a better one than all
            before; `removed`: the run is no longer there.
        at: How far the run's journal had been read.
        data: What is told of it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    time: float
    run: str
    kind: ChangeKind
    at: int = 0
    data: dict[str, Any] = Field(default_factory=dict)


class Feed:
    """Appends changes and gives them out again. Safe to use from several threads; one of them appends.

    Args:
        folder: Where the segments lie.
        needed: The least offset that somebody has not read yet; older segments are removed once there are many.
        segment_bytes: When a new segment is begun.
        kept: How many of the newest lines stay in memory.
    """

    def __init__(
        self,
        *,
        folder: Path,
        needed: Callable[[], int | None] = lambda: None,
        segment_bytes: int = SEGMENT_BYTES,
        kept: int = 1024,
    ) -> None:
        self._folder = folder
        self._needed = needed
        self._segment_bytes = segment_bytes
        self._kept = kept
        self._lock = threading.Lock()
        self._window: Window | None = None
        self._told: int | None = None

    def append(self, changes: Sequence[Change]) -> None:
        """Appends changes, durably enough to survive the process.

        Raises:
            OSError: They could not be written; none, some or all of them were.
        """
        with self._lock:
            segments = self._segments()
            base, path = segments[-1] if segments else (0, self._path(0))
            size = _size(path)
            if size >= self._segment_bytes:
                base, path = base + size, self._path(base + size)
                self._drop(segments)
            writer = LineWriter(path)
            try:
                for change in changes:
                    writer.append(change)
            finally:
                writer.close()
                self._read_on()

    def end(self) -> int:
        """The offset behind the last line."""
        with self._lock:
            return self._read_on().end

    def look(self) -> bool:
        """Whether something was appended since the last look."""
        end = self.end()
        changed = end != self._told
        self._told = end
        return changed

    def recent(self, offset: int) -> Sequence[Line] | None:
        """The lines behind an offset, or None if some of them are no longer in memory."""
        return None if self._window is None else self._window.since(offset)

    def lines(self, offset: int) -> Sequence[Line]:
        """Some lines behind an offset, from memory or from the disk; those that were removed are passed over."""
        found = self.recent(offset)
        if found is not None:
            return found
        for base, path in self._segments():
            if base + _size(path) > offset:
                return read_chunk(path, max(base, offset), render=render_change, base=base)
        return ()

    def changes(self, offset: int = 0) -> Iterator[tuple[int, Change]]:
        """The changes behind an offset, each with the offset behind it."""
        while lines := self.lines(offset):
            for line in lines:
                offset = line.end
                try:
                    yield offset, Change.model_validate(line.values)
                except ValidationError:
                    continue

    def _read_on(self) -> Window:
        window = self._window
        if window is None:
            segments = self._segments()
            end = segments[-1][0] + _size(segments[-1][1]) if segments else 0
            window = Window(start=end, end=end)
        else:
            for base, path in self._segments():
                while base + _size(path) > window.end >= base:
                    lines = read_chunk(path, window.end, render=render_change, base=base)
                    if not lines:
                        break
                    window = window.extended(lines, kept=self._kept)
        self._window = window
        return window

    def _drop(self, segments: Sequence[tuple[int, Path]]) -> None:
        needed = self._needed()
        for position, (base, path) in enumerate(segments[: 1 - SEGMENTS]):
            unread = needed is not None and base + _size(path) > needed
            if not unread or len(segments) - position >= MOST_SEGMENTS:
                path.unlink(missing_ok=True)

    def _segments(self) -> list[tuple[int, Path]]:
        found = sorted(self._folder.glob("*.jsonl"))
        return [(int(path.stem), path) for path in found if path.stem.isdecimal()]

    def _path(self, base: int) -> Path:
        return self._folder / f"{base:018}.jsonl"


def render_change(values: Values) -> Values:
    """What a stream sends of a change: its data, and the run."""
    return {"run": values["run"], **values["data"]}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
