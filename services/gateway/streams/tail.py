"""A file that grows, read once for everybody who follows it."""

import threading
from collections.abc import Sequence
from pathlib import Path

from services.gateway.streams.lines import Line, Render, Window, last_line_end, read_chunk


class Tail:
    """The end of one JSON-lines file.

    What was appended is read by `look`, once however many follow, and kept in a window; whoever is further behind reads
    from the disk. A file that became shorter, or another one, is followed from its beginning.

    Args:
        path: The file; it need not be there yet.
        render: Makes what is sent of a line.
        kept: How many of the newest lines stay in memory.
    """

    def __init__(self, *, path: Path, render: Render, kept: int = 256) -> None:
        self._path = path
        self._render = render
        self._kept = kept
        self._lock = threading.Lock()
        self._window: Window | None = None
        self._inode: int | None = None
        self._told: int | None = None

    def end(self) -> int:
        """The offset behind the last whole line."""
        with self._lock:
            return self._caught_up().end

    def look(self) -> bool:
        """Reads what was appended; whether anything was since the last look."""
        with self._lock:
            end = self._caught_up().end
            changed = end != self._told
            self._told = end
            return changed

    def recent(self, offset: int) -> Sequence[Line] | None:
        """The lines behind an offset as far as they were read, or None if they are no longer in memory."""
        window = self._window
        return None if window is None else window.since(offset)

    def lines(self, offset: int) -> Sequence[Line]:
        """Some lines behind an offset, from memory or from the disk. None are left when there are none."""
        window = self._window
        if window is None:
            with self._lock:
                window = self._caught_up()
        found = window.since(offset)
        if found is not None:
            return found
        return read_chunk(self._path, offset if offset < window.end else 0, render=self._render)

    def _caught_up(self) -> Window:
        try:
            found = self._path.stat()
        except OSError:
            self._window = self._window or Window()
            return self._window
        window = self._window
        if window is None:
            end = last_line_end(self._path)
            window = Window(start=end, end=end)
        elif (self._inode is not None and found.st_ino != self._inode) or found.st_size < window.end:
            window = Window()
        self._inode = found.st_ino
        while found.st_size > window.end and (lines := read_chunk(self._path, window.end, render=self._render)):
            window = window.extended(lines, kept=self._kept)
        self._window = window
        return window
