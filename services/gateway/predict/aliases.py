"""What the aliases of runs point at: `runs/<run>/aliases.json`, of which the predictor's thread is the one writer.

A move is made under the lock of the run's exports, which evaluators hold while they remove some, and whoever removes
the run: an alias comes to point at an export that is there, and from then on that export stays.

Where the file has become another one, as when a run is copied onto the volume while it is looked at already, what
stands in it now counts. What was not read is never replaced.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.gateway.index.marks import Stamp, stamp_of
from services.gateway.predict.metrics import PredictMetrics
from shared.errors import ConflictError, InputError, VolumeError
from shared.layout import MANIFEST, RunFolder, Volume
from shared.locks import exports_lock
from shared.records import Alias, Aliases, Canary, Move, read_record_or_none, write_record

BEST = "best"
LATEST = "latest"
AUTOMATIC = (BEST, LATEST)
"""Aliases that every run has and that move by themselves; `labelled` knows what they mean before they have moved."""

ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,39}", re.ASCII)
KEPT_MOVES = 20
_REPLACED = "aliases.json was replaced from outside"

log = logging.getLogger(__name__)

Tell = Callable[..., None]
"""Called with the run, the kind of event, a message, and details as keywords."""


def checked_alias(name: str) -> str:
    """The name of an alias from outside.

    Raises:
        InputError: It is none.
    """
    if not ALIAS.fullmatch(name):
        shown = name if len(name) <= 60 else f"{name[:60]}…"
        raise InputError(f"{shown!r} is not an alias", where="alias", hint="Small letters, digits, - and _, at most 40")
    return name


def set_by_hand(folder: RunFolder) -> dict[str, int]:
    """The aliases of a run that somebody has set, and the steps that they point at, whose exports are there.

    A damaged file has none.
    """
    try:
        record = read_record_or_none(folder.aliases, Aliases)
    except VolumeError:
        return {}
    entries = {} if record is None else record.aliases
    by_hand = {name: entry.step for name, entry in entries.items() if entry.pinned or name not in AUTOMATIC}
    return {name: step for name, step in by_hand.items() if (folder.export(step) / MANIFEST).exists()}


@dataclass(frozen=True)
class _Page:
    """What stands in the file of a run, and by what it is told from another file; or what did before it was spoilt."""

    stamp: Stamp
    aliases: Mapping[str, Alias]
    readable: bool = True


class AliasBook:
    """Keeps the aliases of every run. Used by one thread.

    Args:
        volume: The volume.
        clock: Seconds since the epoch.
        tell: Writes an event.
        metrics: Where moves are counted.
    """

    def __init__(self, *, volume: Volume, clock: Callable[[], float], tell: Tell, metrics: PredictMetrics) -> None:
        self._volume = volume
        self._clock = clock
        self._tell = tell
        self._metrics = metrics
        self._pages: dict[str, _Page] = {}
        self.changes = 0
        """Grows with each change."""

    def has(self, run: str) -> bool:
        """Whether there is a file of aliases of a run."""
        return self._volume.run(run).aliases.exists()

    def of(self, run: str) -> Mapping[str, Alias]:
        """The aliases of a run, by name, as they were last looked at; read from the volume the first time."""
        if run not in self._pages:
            self._pages[run] = self._read(run)
        return self._pages[run].aliases

    def look(self, run: str) -> bool:
        """Reads the file again if it is not the one that was last read or written. Returns whether others stand in it.

        Each alias that is another one is told as an event of the run, like one that moved here.
        """
        before = self._pages.get(run)
        if before is None:
            self._pages[run] = self._read(run)
            return False
        if stamp_of(self._volume.run(run).aliases) == before.stamp:
            return False
        now = self._read(run)
        if not now.readable:
            now = replace(now, aliases=before.aliases)
        self._pages[run] = now
        changed = [
            name for name in {**before.aliases, **now.aliases} if before.aliases.get(name) != now.aliases.get(name)
        ]
        for name in sorted(changed):
            self._show(run, name, before.aliases.get(name), now.aliases.get(name), reason=_REPLACED)
        return bool(changed)

    def keep(self, runs: Iterable[str]) -> None:
        """Forgets all runs but these."""
        runs = set(runs)
        self._pages = {run: page for run, page in self._pages.items() if run in runs}

    def move(self, run: str, alias: str, step: int, *, precision: float, reason: str, pinned: bool = False) -> bool:
        """Points an alias at an export; a canary of it ends. Returns whether it did: not if export or run are gone.

        Raises:
            ConflictError: The file cannot be read, or was replaced in this moment, so it must not be replaced.
            OSError: It could not be written.
        """
        before = self.of(run).get(alias)
        move = Move(step=step, precision_at_1=precision, reason=reason, time=self._clock())
        earlier = before.moves if before is not None else ()
        if earlier and earlier[-1].step == step:
            earlier = earlier[:-1]  # said anew of where it is; what it would roll back to stays in sight
        moves = (*earlier, move)[-KEPT_MOVES:]
        changed = Alias(moves=moves, pinned=pinned)
        return self._change(run, alias, changed, reason=reason, needs=step)

    def pin(self, run: str, alias: str, *, pinned: bool, reason: str) -> None:
        """Says whether an alias stays where it is. Raises like `move`."""
        self._change(run, alias, self.of(run)[alias].model_copy(update={"pinned": pinned}), reason=reason)

    def canary(self, run: str, alias: str, canary: Canary | None, *, reason: str) -> bool:
        """Has an export answer a share of the requests, or none any more. Returns and raises like `move`."""
        changed = self.of(run)[alias].model_copy(update={"canary": canary})
        return self._change(run, alias, changed, reason=reason, needs=None if canary is None else canary.step)

    def back(self, run: str, alias: str, moves: tuple[Move, ...], *, reason: str, pinned: bool) -> bool:
        """Points an alias at where it was after `moves`, its first ones. Returns and raises like `move`."""
        move = moves[-1].model_copy(update={"reason": reason, "time": self._clock()})
        changed = Alias(moves=(*moves[:-1], move), pinned=pinned)
        return self._change(run, alias, changed, reason=reason, needs=move.step)

    def remove(self, run: str, alias: str, *, reason: str) -> None:
        """Removes an alias. Raises like `move`."""
        self._change(run, alias, None, reason=reason)

    def _change(self, run: str, alias: str, changed: Alias | None, *, reason: str, needs: int | None = None) -> bool:
        folder = self._volume.run(run)
        try:
            with exports_lock(folder):
                if self.look(run):
                    raise ConflictError("was replaced in this moment", where=str(folder.aliases), hint="Ask again")
                if not self._pages[run].readable:
                    raise ConflictError("cannot be read, so it is not replaced", where=str(folder.aliases))
                if needs is not None and not (folder.export(needs) / MANIFEST).exists():
                    return False
                if not folder.spec.exists():
                    return False
                aliases = dict(self.of(run))
                before = aliases.pop(alias, None)
                if changed is not None:
                    aliases[alias] = changed
                write_record(folder.aliases, Aliases(aliases=aliases))
                self._pages[run] = _Page(stamp_of(folder.aliases), aliases)
        except FileNotFoundError:
            return False  # deleted while it was waited for, and not to come back
        self._show(run, alias, before, changed, reason=reason)
        return True

    def _read(self, run: str) -> _Page:
        path = self._volume.run(run).aliases
        stamp = stamp_of(path)  # before it is read: if it is replaced meanwhile, the next look sees that
        try:
            record = read_record_or_none(path, Aliases)
        except VolumeError as error:
            log.error("%s", error, extra={"run": run})
            return _Page(stamp, {}, readable=False)
        return _Page(stamp, {} if record is None else record.aliases)

    def _show(self, run: str, alias: str, before: Alias | None, now: Alias | None, *, reason: str) -> None:
        self.changes += 1
        self._metrics.alias(run, alias, None if now is None else now.step)
        self._tell(run, "alias", f"{alias}: {reason}", **_details(alias, before, now))


def _details(alias: str, before: Alias | None, now: Alias | None) -> dict[str, Any]:
    canary = None if now is None or now.canary is None else now.canary.model_dump()
    return {
        "alias": alias,
        "step": None if now is None else now.step,
        "before": None if before is None else before.step,
        "pinned": now is not None and now.pinned,
        "canary": canary,
    }
