"""Lines of several files read at once, in the order of time: what the JSON routes answer with."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.gateway.streams.lines import Line
from services.gateway.streams.position import Position
from services.gateway.streams.sources import Source

TAIL_BYTES = 2 * 2**20
"""How far back in each file the newest lines are looked for: a log may be long, and most of it about other runs."""


@dataclass(frozen=True)
class Page:
    """Some lines.

    Attributes:
        lines: In the order of time.
        position: Where to go on.
        more: Whether there are more now.
    """

    lines: list[Line]
    position: Position
    more: bool


def newest(sources: Sequence[Source], *, most: int) -> Page:
    """The newest lines."""
    position: Position = {}
    found: list[list[Line]] = []
    more = False
    for source in sources:
        position[source.key] = end = source.file.end()
        begin = max(0, end - TAIL_BYTES)
        lines = [line for line in _read(source, begin, end) if _sent(source, line)]
        more = more or begin > 0 or len(lines) > most
        found.append(lines[-most:])
    merged = list(heapq.merge(*found, key=lambda line: line.time))
    return Page(lines=merged[-most:], position=position, more=more or len(merged) > most)


def following(sources: Sequence[Source], position: Position, *, most: int) -> Page:
    """The lines behind a position, oldest first; of a source that it does not name, all."""
    found: list[list[tuple[Source, Line]]] = []
    reached: Position = {}
    for source in sources:
        begin = position.get(source.key, 0)
        reached[source.key] = begin
        lines: list[tuple[Source, Line]] = []
        wanted = 0
        for line in _read(source, begin, source.file.end()):
            lines.append((source, line))
            wanted += _sent(source, line)
            if wanted > most:
                break
        found.append(lines)
    chosen: list[Line] = []
    for source, line in heapq.merge(*found, key=lambda pair: pair[1].time):
        if _sent(source, line):
            if len(chosen) == most:
                return Page(lines=chosen, position=reached, more=True)
            chosen.append(line)
        reached[source.key] = line.end
    return Page(lines=chosen, position=reached, more=False)


def _read(source: Source, begin: int, end: int) -> Iterator[Line]:
    while begin < end and (lines := source.file.lines(begin)):
        yield from lines
        if lines[-1].end <= begin:
            return
        begin = lines[-1].end


def _sent(source: Source, line: Line) -> bool:
    return line.data is not None and source.kind_of(line) is not None
