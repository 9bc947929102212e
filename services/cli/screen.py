"""What the user sees of something that takes time: lines that stay, and below them one of progress on a terminal.

Without a terminal the progress is printed as a plain line every few seconds. Output that cannot be written (the
terminal was closed, the pipe's reader is gone) silences the screen; it never stops what is being supervised.
"""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


class Screen:
    """Prints lines and progress.

    Args:
        console: Where to.
        clock: Monotonic seconds.
        interval: Seconds between progress lines where there is no terminal.
    """

    def __init__(self, *, console: Console, clock: Callable[[], float], interval: float = 5.0) -> None:
        self._console = console
        self._clock = clock
        self._interval = interval
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_text = ""
        self._last_time = float("-inf")

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """While inside, progress is shown on a line of its own where there is a terminal."""
        if not self._console.is_terminal:
            yield
            return
        text = TextColumn("{task.description}", markup=False)
        bar = Progress(BarColumn(bar_width=24), text, console=self._console, transient=True, auto_refresh=False)
        self._bar = bar
        try:
            with self._guarded():
                bar.start()
            yield
        finally:
            self._bar = self._task = None
            with self._guarded():
                bar.stop()

    def line(self, text: str) -> None:
        """Prints a line that stays."""
        with self._guarded():
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def progress(self, text: str, share: float | None) -> None:
        """Shows how far things are.

        Args:
            text: One line.
            share: Between 0 and 1, or None where it is not known.
        """
        with self._guarded():
            if self._bar is not None:
                self._show_bar(self._bar, text, share)
            elif text != self._last_text and self._clock() - self._last_time >= self._interval:
                self._last_text, self._last_time = text, self._clock()
                self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _show_bar(self, bar: Progress, text: str, share: float | None) -> None:
        total = None if share is None else 1.0
        if self._task is None:
            self._task = bar.add_task(text, total=total)
        bar.update(self._task, description=text, total=total, completed=share or 0.0)
        bar.refresh()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._console.quiet = True
