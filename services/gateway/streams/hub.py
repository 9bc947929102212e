"""Who listens to what, and the one task that looks at it all: its cost grows with files, not with listeners."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from shared.errors import OverloadedError

log = logging.getLogger(__name__)


class Watched(Protocol):
    """Something that changes."""

    def look(self) -> bool:
        """Looks at it, in a thread; whether it has changed since the last look."""
        ...


class Listener:
    """Somebody who waits for changes of some watched things."""

    def __init__(self, watched: Iterable[Watched]) -> None:
        self.watched = frozenset(watched)
        self.closed = False
        self._changed = asyncio.Event()

    def tell(self, *, closed: bool = False) -> None:
        """Says that something has changed, or that it is over."""
        self.closed = self.closed or closed
        self._changed.set()

    async def wait(self, seconds: float) -> bool:
        """Waits until something changes; False if nothing has within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True


class Hub:
    """Wakes listeners. A slow one delays nobody: it finds what it has missed in the files.

    Args:
        poll: Seconds between two looks.
        most: Listeners at once.
    """

    def __init__(self, *, poll: float, most: int) -> None:
        self._poll = poll
        self._most = most
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def check(self) -> None:
        """Makes sure that one more may listen.

        Raises:
            OverloadedError: As many listen as may.
        """
        if len(self._listeners) >= self._most:
            raise OverloadedError(f"{self._most} streams are open", hint="Close some, or raise TANDEM_GATEWAY_STREAMS")

    @contextlib.asynccontextmanager
    async def listening(self, watched: Iterable[Watched]) -> AsyncIterator[Listener]:
        """Listens for as long as the context lasts."""
        listener = Listener(watched)
        listener.closed = self._closed
        self._listeners.add(listener)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """Ends all streams, and those that come: the gateway stops. Called in the event loop."""
        self._closed = True
        for listener in self._listeners:
            listener.tell(closed=True)

    async def _watch(self) -> None:
        while self._listeners:
            watched = frozenset().union(*(listener.watched for listener in self._listeners))
            changed = await asyncio.to_thread(_changed, watched)
            for listener in self._listeners:
                if not changed.isdisjoint(listener.watched):
                    listener.tell()
            await asyncio.sleep(self._poll)


def _changed(watched: Iterable[Watched]) -> frozenset[Watched]:
    changed = set()
    for each in watched:
        try:
            if each.look():
                changed.add(each)
        except Exception:
            log.exception("what streams follow could not be looked at")
    return frozenset(changed)
