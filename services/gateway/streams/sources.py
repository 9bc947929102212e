"""What a stream of a run is made of: which files, and what of their lines is sent.

| key | file | kind |
| --- | --- | --- |
| `ge`, `te`, `ee` | events of the gateway, the trainer, the evaluator | event |
| `s` | the trainer's series | series |
| `f` | the gateway's feed | evaluation, removed |
| `tl`, `gl`, `el…` | logs of the trainer, the gateway, each evaluator | log |
"""

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from weakref import WeakValueDictionary

from services.gateway.streams.feed import Feed
from services.gateway.streams.lines import Line, Render, Values
from services.gateway.streams.tail import Tail
from shared.layout import RunFolder, Volume

Kind = Literal["state", "series", "evaluation", "event", "log", "removed"]
Level = Literal["debug", "info", "warning", "error", "critical"]
Service = Literal["trainer", "evaluator", "gateway"]

LEVELS: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
SERIES = ("loss", "cross_entropy", "average_loss", "learning_rate", "examples_per_second")


class Followed(Protocol):
    """A file, or several, whose lines can be followed."""

    def end(self) -> int:
        """The offset behind the last line."""
        ...

    def look(self) -> bool:
        """Whether lines came since the last look."""
        ...

    def recent(self, offset: int) -> Sequence[Line] | None:
        """The lines behind an offset if they are in memory."""
        ...

    def lines(self, offset: int) -> Sequence[Line]:
        """Some of the lines behind an offset."""
        ...


@dataclass(frozen=True)
class Source:
    """One file of a stream.

    Attributes:
        key: How positions name it.
        file: The file.
        kind_of: The kind of message that a line is; None if it is not for this stream.
        path: Where it lies, if it is a single file.
    """

    key: str
    file: Followed
    kind_of: Callable[[Line], Kind | None]
    path: Path | None = None


@dataclass(frozen=True)
class LogFilter:
    """Which lines of logs are wanted.

    Attributes:
        level: The least level.
        services: Of whom; empty: of all.
    """

    level: Level = "debug"
    services: frozenset[Service] = frozenset()

    def lets_through(self, line: Line) -> bool:
        """Whether a line is wanted."""
        least = LEVELS[self.level]
        return LEVELS.get(str(line.values.get("level")), least) >= least


class Sources:
    """Gives out the sources of runs. A file that several streams follow is one object, for as long as one does.

    Args:
        volume: Where the runs lie.
        feed: What happened to all of them.
    """

    def __init__(self, *, volume: Volume, feed: Feed) -> None:
        self._volume = volume
        self.feed = feed
        self._tails: WeakValueDictionary[Path, Tail] = WeakValueDictionary()

    def events(self, folder: RunFolder) -> list[Source]:
        """The events of a run."""
        files = {"ge": folder.gateway_events, "te": folder.trainer_events, "ee": folder.evaluator_events}
        return [self._source(key, path, render_event, lambda _: "event") for key, path in files.items()]

    def series(self, folder: RunFolder) -> Source:
        """The curves of a run."""
        return self._source("s", folder.series, render_point, lambda _: "series")

    def logs(self, folder: RunFolder, wanted: LogFilter) -> list[Source]:
        """The log lines that are about a run."""

        def any_line(line: Line) -> Kind | None:
            return "log" if wanted.lets_through(line) else None

        def about_the_run(line: Line) -> Kind | None:
            return "log" if line.values.get("run") == folder.id and wanted.lets_through(line) else None

        chosen = []
        for key, service, path in self._logs(folder):
            if not wanted.services or service in wanted.services:
                chosen.append(self._source(key, path, render_log, any_line if service == "trainer" else about_the_run))
        return chosen

    def changes(self, kinds: frozenset[Kind], run: str | None = None) -> Source:
        """What the feed says: of one run, or of all."""

        def kind_of(line: Line) -> Kind | None:
            kind = line.values.get("kind")
            if run is not None and line.values.get("run") != run:
                return None
            return next((each for each in kinds if each == kind), None)

        return Source(key="f", file=self.feed, kind_of=kind_of)

    def _logs(self, folder: RunFolder) -> Iterator[tuple[str, Service, Path]]:
        yield "tl", "trainer", folder.trainer_log
        yield "gl", "gateway", self._volume.gateway / "log.jsonl"
        for path in sorted((self._volume.root / "evaluators").glob("*/log.jsonl")):
            yield f"el{zlib.crc32(path.parent.name.encode()):08x}", "evaluator", path

    def _source(self, key: str, path: Path, render: Render, kind_of: Callable[[Line], Kind | None]) -> Source:
        tail = self._tails.get(path)
        if tail is None:
            tail = self._tails[path] = Tail(path=path, render=render)
        return Source(key=key, file=tail, kind_of=kind_of, path=path)


def render_event(values: Values) -> Values:
    """An event as it is shown."""
    shown = {name: values[name] for name in ("time", "service", "kind", "message")}
    return shown | {"step": values.get("step"), "details": values.get("details", {})}


def render_point(values: Values) -> Values:
    """A point of the series as it is shown: what is no finite number is null."""
    return {"step": values["step"], "time": values["time"]} | {name: _finite(values[name]) for name in SERIES}


def render_log(values: Values) -> Values:
    """A line of a log as it is shown: what was passed besides stands in `details`."""
    shown = {name: values[name] for name in ("time", "level", "service", "message")}
    details = {name: value for name, value in values.items() if name not in {*shown, "traceback"}}
    return shown | {"traceback": values.get("traceback"), "details": details}


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
