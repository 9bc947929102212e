"""Server-sent events for one listener: everything behind its position, then whatever comes, each with its own id."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Protocol

from services.gateway.streams.hub import Hub, Watched
from services.gateway.streams.lines import Line
from services.gateway.streams.position import Position, format_position
from services.gateway.streams.sources import Source
from services.gateway.streams.watches import AllRunsWatch, RunWatch

HEARTBEAT_SECONDS = 15.0
RETRY_MILLISECONDS = 2_000


class States(Protocol):
    """Gives out views of runs that a listener does not know yet, and moves its position on."""

    @property
    def watched(self) -> Watched:
        """What changes when there are some."""
        ...

    def due(self, position: Position) -> Iterator[bytes]:
        """The views, each yielded after the position was moved behind it."""
        ...

    def over(self) -> bool:
        """Whether no more will come."""
        ...


class Stream:
    """The messages for one listener.

    Args:
        hub: Says when to look.
        sources: The files that it follows.
        states: The views of runs that it follows, if any.
        position: Where it stands; moved on with each message.
        heartbeat: Seconds of silence after which a comment is sent, so that proxies do not take it for dead.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        sources: Sequence[Source],
        states: States | None,
        position: Position,
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._hub = hub
        self._sources = sources
        self._states = states
        self._position = position
        self._heartbeat = heartbeat

    async def messages(self) -> AsyncIterator[bytes]:
        """Yields messages until the hub is closed or there is nothing more to come."""
        # An id without data sets the position from which the client asks again, even if it never gets a message.
        yield f"retry: {RETRY_MILLISECONDS}\n".encode() + self._id() + b"\n"
        watched: list[Watched] = [source.file for source in self._sources]
        if self._states is not None:
            watched.append(self._states.watched)
        async with self._hub.listening(watched) as listener:
            while True:
                async for message in self._due():
                    yield message
                if listener.closed or (self._states is not None and self._states.over()):
                    return
                if not await listener.wait(self._heartbeat):
                    yield b": nothing new\n" + self._id() + b"\n"

    async def _due(self) -> AsyncIterator[bytes]:
        if self._states is not None:
            for data in self._states.due(self._position):
                yield self._message("state", data)
        while batches := [batch for source in self._sources if (batch := await self._batch(source))]:
            for source, line in heapq.merge(*batches, key=_time):
                self._position[source.key] = line.end
                kind = source.kind_of(line)
                if kind is not None and line.data is not None:
                    yield self._message(kind, line.data)

    async def _batch(self, source: Source) -> list[tuple[Source, Line]]:
        offset = self._position[source.key]
        lines = source.file.recent(offset)
        if lines is None:
            lines = await asyncio.to_thread(source.file.lines, offset)
        return [(source, line) for line in lines]

    def _message(self, kind: str, data: bytes) -> bytes:
        return b"event: " + kind.encode() + b"\n" + self._id() + b"data: " + data + b"\n\n"

    def _id(self) -> bytes:
        return f"id: {format_position(self._position)}\n".encode()


class RunStates:
    """The view of one run, for one listener: sent when it differs from the one that its position stands for.

    Args:
        watch: Watches the run.
    """

    def __init__(self, watch: RunWatch) -> None:
        self.watched = watch

    def due(self, position: Position) -> Iterator[bytes]:
        """The view, if the listener does not know it."""
        if self.watched.data and position.get("x") != self.watched.digest:
            position["x"] = self.watched.digest
            yield self.watched.data

    def over(self) -> bool:
        """Whether the run was removed."""
        return self.watched.gone


class AllStates:
    """The views of all runs, for one listener.

    Args:
        watch: Watches them.
        missed: The runs whose state changed between the listener's position and now.
    """

    def __init__(self, watch: AllRunsWatch, *, missed: Callable[[], list[str]]) -> None:
        self.watched = watch
        self._missed = missed

    def due(self, position: Position) -> Iterator[bytes]:
        """The views that the listener does not know."""
        if position.get("w") != self.watched.token:
            # Its numbers are of another time: it gets the runs at work, and those that settled meanwhile.
            missed = self._missed() if "w" in position else []
            position["w"], position["v"] = self.watched.token, 0
            yield from filter(None, map(self.watched.shown, missed))
        for version, data in self.watched.since(position["v"]):
            position["v"] = version
            yield data

    def over(self) -> bool:
        """Never."""
        return False


def _time(pair: tuple[Source, Line]) -> float:
    return pair[1].time
