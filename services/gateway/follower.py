"""Notices what happened to runs and puts it into the feed, once each, whether or not a gateway was there when it did.

State changes are taken from the runs' journals, evaluations from what is known of the volume. What was told already
stands in the feed, so the next gateway goes on from there: a change is told twice only if a gateway is killed between
writing a line and the next look, never lost. Of a volume whose runs the feed does not know (it is new, or what it said
was removed long ago), those that have ended already are taken as they are.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from services.gateway.index import Index, Run
from services.gateway.index.shelf import Judged, Shelved
from services.gateway.steering.journal import History, Journal
from services.gateway.streams.feed import Change, Feed
from services.gateway.views import best_view, evaluation_view
from shared.errors import TandemError
from shared.lifecycle import StopEvent
from shared.records import Event, Verdict, read_lines
from shared.states import SETTLED

log = logging.getLogger(__name__)


@dataclass
class _Told:
    """What the feed says of a run so far: how far its journal was told, and the verdicts in both of these.

    `history` and `verdicts` are what was seen of a run that is not on the shelf, `mark` of one that is.
    """

    at: int = 0
    history: History | None = None
    verdicts: tuple[Verdict, ...] = ()
    judged: Judged | set[tuple[int, str]] = frozenset()
    mark: str | None = None

    def all_judged(self) -> Judged:
        """Step and kind of weights of each verdict that was told."""
        return frozenset(self.judged) | {_key(each) for each in self.verdicts}


class Follower:
    """Looks, and looks again.

    Args:
        index: What is known of the runs.
        journal: What the gateway did with them.
        feed: Where changes go.
        clock: Seconds since the epoch.
    """

    def __init__(self, *, index: Index, journal: Journal, feed: Feed, clock: Callable[[], float]) -> None:
        self._index = index
        self._journal = journal
        self._feed = feed
        self._clock = clock
        self._told: dict[str, _Told] | None = None
        self._version = 0
        self._begun = 0.0

    def look(self) -> None:
        """Tells of everything that happened since the last look.

        Raises:
            OSError: The feed cannot be written to; the next look tries again.
        """
        told = self._told if self._told is not None else self._remember()
        runs = self._index.runs()
        changes: list[Change] = []
        for run in runs:
            history = self._journal.history(run.id)
            known = told.get(run.id)
            if known is None:
                known = told[run.id] = _Told()
                if history.state in SETTLED and run.created < self._begun:
                    known.history, known.verdicts, known.at = history, run.verdicts, self._journal_end(run)
            if known.history is not history:
                changes += self._states(run, known, history)
            if known.verdicts is not run.verdicts:
                changes += self._verdicts(run, known)
        self._version, shelved = self._index.shelved(self._version)
        for entry in shelved:
            changes += self._settled(entry, told)
        changes += self._removed(told)
        if changes:
            try:
                self._feed.append(changes)
            except OSError:
                self._told, self._version = None, 0  # what was written is read again, so nothing is left out
                raise

    def _remember(self) -> dict[str, _Told]:
        told: dict[str, _Told] = {}
        begun: float | None = None
        for _, change in self._feed.changes():
            begun = change.time if begun is None else begun
            known = told.setdefault(change.run, _Told())
            match change.kind:
                case "state":
                    known.at = change.at
                case "evaluation":
                    known.judged |= {(change.data["step"], _kind(change))}
                case "removed":
                    del told[change.run]
                case "best":
                    pass
        self._begun = self._clock() if begun is None else begun
        self._told = told
        return told

    def _settled(self, entry: Shelved, told: dict[str, _Told]) -> Iterator[Change]:
        """What is new about a run that was put on the shelf; from then on little is held of it here too."""
        known = told.get(entry.id)
        if known is not None and known.mark == entry.mark:
            return
        if known is None:
            known = told[entry.id] = _Told()
            if entry.created < self._begun:
                known.at, known.judged = entry.journal, entry.judged
        judged = known.all_judged()
        if known.at < entry.journal or not entry.judged <= judged:
            try:
                run = self._index.get(entry.id)
            except TandemError:
                return  # removed or unreadable since; the next look says so
            yield from self._states(run, known, self._journal.history(run.id))
            yield from self._verdicts(run, known)
            judged = known.all_judged()
        known.judged = entry.judged if judged == entry.judged else judged
        known.history, known.verdicts, known.mark = None, (), entry.mark

    def _states(self, run: Run, known: _Told, history: History) -> Iterator[Change]:
        known.history = history
        for offset, event in read_lines(run.folder.gateway_events, Event, offset=known.at):
            known.at = offset
            if event.kind == "state":
                data = {"from": event.details.get("from"), "to": event.details.get("to"), "reason": event.message}
                yield Change(time=event.time, run=run.id, kind="state", at=offset, data={"name": run.spec.name, **data})

    def _verdicts(self, run: Run, known: _Told) -> Iterator[Change]:
        judged = known.all_judged()
        before = [each for each in run.verdicts if _key(each) in judged]
        for verdict in sorted((each for each in run.verdicts if _key(each) not in judged), key=lambda each: each.time):
            same = [each.precision_at_1 or 0.0 for each in before if each.kind == verdict.kind]
            data = {"name": run.spec.name, "kind": verdict.kind, "previous_best": max(same, default=None)}
            figures = evaluation_view(verdict).model_dump(mode="json")
            yield Change(time=self._clock(), run=run.id, kind="evaluation", data={**data, **figures})
            earlier = best_view(replace(run, verdicts=tuple(before)))
            before.append(verdict)
            best = best_view(replace(run, verdicts=tuple(before)))
            if best is not None and (earlier is None or best.precision_at_1 > earlier.precision_at_1):
                known_best = None if earlier is None else earlier.precision_at_1
                data = {"name": run.spec.name, "previous_best": known_best, **best.model_dump(mode="json")}
                yield Change(time=self._clock(), run=run.id, kind="best", data=data)
        known.verdicts, known.judged = run.verdicts, frozenset()

    def _removed(self, told: dict[str, _Told]) -> Iterator[Change]:
        for run in [run for run in told if not self._index.is_there(run)]:
            del told[run]
            yield Change(time=self._clock(), run=run, kind="removed")

    def _journal_end(self, run: Run) -> int:
        return max((offset for offset, _ in read_lines(run.folder.gateway_events, Event)), default=0)


class FollowerLoop:
    """Has a follower look from time to time, in a thread, once the gateway knows how its runs are.

    Args:
        follower: What looks.
        ready: Whether the states of the runs are known.
        stop: Ends the loop.
        poll: Seconds between two looks.
        after: Called after each look, such as to have webhooks sent.
    """

    def __init__(
        self,
        *,
        follower: Follower,
        ready: Callable[[], bool],
        stop: StopEvent,
        poll: float,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._follower = follower
        self._ready = ready
        self._stop = stop
        self._poll = poll
        self._after = after
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._trouble: str | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def join(self) -> None:
        """Waits until the thread has ended; the stop event must have been set."""
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._poll):
            if not self._ready():
                continue
            try:
                self._follower.look()
                self._trouble = None
                self._after()
            except Exception as error:  # the loop's outer edge: whatever it was, the next look may succeed
                if str(error) != self._trouble:
                    log.exception("changes could not be told; it is tried again")
                self._trouble = str(error)


def _key(verdict: Verdict) -> tuple[int, str]:
    return verdict.step, verdict.kind


def _kind(change: Change) -> str:
    return str(change.data["kind"])
