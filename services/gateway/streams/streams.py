"""Makes streams and pages for the routes."""

from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakValueDictionary

from services.gateway.encoded import EncodedViews
from services.gateway.steering.situations import Situations
from services.gateway.streams import history
from services.gateway.streams.feed import Feed
from services.gateway.streams.hub import Hub
from services.gateway.streams.position import Position
from services.gateway.streams.sources import Kind, LogFilter, Source, Sources
from services.gateway.streams.stream import AllStates, RunStates, Stream
from services.gateway.streams.watches import AllRunsWatch, RunWatch
from shared.layout import Volume


class Streams:
    """Everything that is told while it happens.

    Args:
        volume: Where the runs lie.
        runs: Tells how they stand.
        views: Encodes them.
        feed: What happened to all of them.
        poll: Seconds between two looks at what is followed.
        most: Streams at once.
    """

    def __init__(
        self,
        *,
        volume: Volume,
        runs: Situations,
        views: EncodedViews,
        feed: Feed,
        poll: float = 0.5,
        most: int = 256,
    ) -> None:
        self._runs = runs
        self._views = views
        self._sources = Sources(volume=volume, feed=feed)
        self._feed = feed
        self.hub = Hub(poll=poll, most=most)
        self._watches: WeakValueDictionary[str, RunWatch | AllRunsWatch] = WeakValueDictionary()

    def events(self, run: str, *, after: Position | None, most: int) -> history.Page:
        """Events of a run: those behind a position, or the newest. Raises like `Situations.show`."""
        sources = self._sources.events(self._runs.show(run).run.folder)
        return _page(sources, after, most)

    def logs(self, run: str, *, wanted: LogFilter, after: Position | None, most: int) -> history.Page:
        """Lines of logs about a run: those behind a position, or the newest. Raises like `Situations.show`."""
        sources = self._sources.logs(self._runs.show(run).run.folder, wanted)
        return _page(sources, after, most)

    def run(self, run: str, *, kinds: frozenset[Kind], wanted: LogFilter, after: Position) -> AsyncIterator[bytes]:
        """A stream of one run. Sources that the position does not name are followed from now on.

        Raises:
            NotFoundError: There is no such run.
            OverloadedError: Too many streams are open.
        """
        folder = self._runs.show(run).run.folder
        self.hub.check()
        sources = [self._sources.changes(kinds & {"evaluation"}, run)]
        if "event" in kinds:
            sources += self._sources.events(folder)
        if "series" in kinds:
            sources.append(self._sources.series(folder))
        if "log" in kinds:
            sources += self._sources.logs(folder, wanted)
        watch = self._shared(run, lambda: RunWatch(run=run, runs=self._runs, views=self._views))
        watch.look()
        states = RunStates(watch) if "state" in kinds else None
        return self._messages(sources, states, after)

    def all_runs(self, *, kinds: frozenset[Kind], after: Position) -> AsyncIterator[bytes]:
        """A stream of all runs: their states, and evaluations.

        Raises:
            OverloadedError: Too many streams are open.
        """
        self.hub.check()
        watch = self._shared("", lambda: AllRunsWatch(runs=self._runs, views=self._views))
        watch.look()
        since = after.get("f")

        def missed() -> list[str]:
            changes = self._feed.changes(since) if since is not None else ()
            return list(dict.fromkeys(change.run for _, change in changes if change.kind == "state"))

        states = AllStates(watch, missed=missed) if "state" in kinds else None
        told: frozenset[Kind] = kinds & {"evaluation"}
        if states is not None:
            told |= {"removed"}
        return self._messages([self._sources.changes(told)], states, after)

    def _messages(self, sources: list[Source], states: Any, after: Position) -> AsyncIterator[bytes]:
        position = dict(after)
        for source in sources:
            position.setdefault(source.key, source.file.end())
        return Stream(hub=self.hub, sources=sources, states=states, position=position).messages()

    def _shared(self, key: str, make: Any) -> Any:
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = make()
        return watch


def _page(sources: list[Source], after: Position | None, most: int) -> history.Page:
    return history.newest(sources, most=most) if after is None else history.following(sources, after, most=most)
