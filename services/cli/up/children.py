"""Processes that are kept alive: started in sessions of their own, restarted when they crash, stopped in order."""

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shared.errors import TandemError

TAIL_BYTES = 16_384
BAD_INPUT = 2  # a service's exit code for settings or input that another start would not mend


class ChildError(TandemError):
    """A process that is needed died and was not restarted, or not any more."""

    code = "child_failed"


class Child:
    """One process. Its session is its own, so that Ctrl-C reaches it only by way of `stop`.

    Args:
        name: For people.
        command: What to run, the program first.
        log: The file that its output is appended to.
        environment: The whole of its environment.
    """

    def __init__(self, *, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0

    @property
    def pid(self) -> int | None:
        """Its process id, or None before the first start."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Starts it.

        Raises:
            OSError: The log cannot be written to, or there is no such program.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._started_at = output.tell()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(self._environment),
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        """How it ended (minus the signal's number for a death by signal), or None while it lives or was not started."""
        return None if self._process is None else self._process.poll()

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> None:
        """Asks it to stop in order."""
        if self._process is not None and self.alive():
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once, with whatever it started in its session. Safe in a signal handler."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Ends it at once and waits until it is gone."""
        self.kill()
        if self._process is not None:
            self._process.wait()

    def last_words(self, lines: int = 5) -> str:
        """The last lines that it wrote since it was started, joined by ` | `."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._started_at, size - TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return " | ".join(deque((line.strip() for line in text.splitlines() if line.strip()), maxlen=lines))


class Supervisor:
    """Keeps children alive: one that dies is started again, after a pause that doubles, a bounded number of times.

    Args:
        children: In the order in which they are started.
        clock: Monotonic seconds.
        limit: How many restarts each child has.
        steady: Seconds of life after which a child's past deaths are forgotten.
    """

    def __init__(
        self, *, children: Sequence[Child], clock: Callable[[], float], limit: int = 5, steady: float = 600.0
    ) -> None:
        self._children = children
        self._clock = clock
        self._limit = limit
        self._steady = steady
        self._deaths = dict.fromkeys((child.name for child in children), 0)
        self._due: dict[str, float] = {}
        self._since: dict[str, float] = {}

    def start(self) -> None:
        """Starts every child."""
        for child in self._children:
            self._start(child)

    def check(self) -> list[str]:
        """Notices deaths and restarts what is due. Called again and again.

        Returns:
            Lines for people about what died, with its last words and its log's path, and what is started again.

        Raises:
            ChildError: A child died and is not started again: it said that its input is bad, or did it too often.
        """
        lines = []
        for child in self._children:
            if child.name in self._due:
                if self._clock() >= self._due[child.name]:
                    self._start(child)
            elif not child.alive():
                lines.append(self._mourn(child))
        return lines

    def stop(self, *, grace: float, wait: Callable[[float], object]) -> list[str]:
        """Asks every child to stop, waits, and kills those that have not stopped after `grace` seconds.

        Returns:
            The names of those that had to be killed.
        """
        self._due.clear()
        for child in self._children:
            child.terminate()
        deadline = self._clock() + grace
        while any(child.alive() for child in self._children) and self._clock() < deadline:
            wait(0.05)
        late = [child.name for child in self._children if child.alive()]
        for child in self._children:
            child.end()
        return late

    def kill(self) -> None:
        """Ends every child at once. Safe in a signal handler."""
        for child in self._children:
            child.kill()

    def _start(self, child: Child) -> None:
        self._due.pop(child.name, None)
        self._since[child.name] = self._clock()
        child.start()

    def _mourn(self, child: Child) -> str:
        now = self._clock()
        if now - self._since[child.name] >= self._steady:
            self._deaths[child.name] = 0
        self._deaths[child.name] += 1
        code = child.exit_code()
        words = f"; its last words: {child.last_words()}" if child.last_words() else ""
        story = f"the {child.name} ended {_ending(code)}{words}"
        if code == BAD_INPUT:
            raise ChildError(story, where=str(child.log), hint="Mend what it says and start again")
        if self._deaths[child.name] > self._limit:
            raise ChildError(f"{story} (restarted {self._limit} times)", where=str(child.log), hint="Its log says more")
        pause = min(30.0, 0.5 * 2 ** (self._deaths[child.name] - 1))
        self._due[child.name] = now + pause
        return f"{story} (log: {child.log}); starting it again in {pause:g} s"


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"with exit code {code}"
    try:
        return f"by signal {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
