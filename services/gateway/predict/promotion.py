"""When aliases move: `best` and `latest` by themselves, all by hand, and back when what they point at cannot answer.

`best` moves to an export of higher precision at 1 that passed its warm-up; where the run's spec says `promotion:
significant`, only if McNemar's test on the test examples says that the two differ. `latest` moves to the newest export
that passed its warm-up. Neither moves while it is pinned.

What cannot be written down does not move: on a full disk aliases stay where they are, which is told once. Nor does an
alias of a run that is just being copied onto the volume, whose export may be still to come: it is looked at again.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator

from services.gateway.predict.aliases import AUTOMATIC, BEST, LATEST, AliasBook
from services.gateway.predict.store import Export, RunExports
from shared.answers import read_answers
from shared.errors import ConflictError, NotFoundError, TandemError, UnavailableError, VolumeError
from shared.layout import RunFolder, Volume
from shared.records import Alias, Canary, Move, Verdict, read_record
from shared.significance import mcnemar
from shared.spec import ema_kind

log = logging.getLogger(__name__)

Prove = Callable[[Export, bool], bool]
"""Whether an export answers now; loads and warms it up if need be, and keeps it in memory if it is said to."""


class Promotion:
    """Moves aliases. Used by one thread.

    Args:
        book: Where they are written down.
        volume: Where verdicts lie.
        prove: Asked before an alias moves.
        failure: What was wrong with an export that did not answer, if that is known.
        in_memory: Whether the export of a run's step can answer although it may be gone from the volume.
        has_answered: Whether it has been whole before; then it is lost, and not still to come.
        arriving: Whether a run is just being copied onto the volume.
    """

    def __init__(
        self,
        *,
        book: AliasBook,
        volume: Volume,
        prove: Prove,
        failure: Callable[[Export], TandemError | None],
        in_memory: Callable[[str, int], bool],
        has_answered: Callable[[str, int], bool],
        arriving: Callable[[RunFolder], bool],
    ) -> None:
        self._book = book
        self._volume = volume
        self._prove = prove
        self._failure = failure
        self._in_memory = in_memory
        self._has_answered = has_answered
        self._arriving = arriving
        self._insignificant: set[tuple[str, int, int]] = set()
        self._told: dict[str, str] = {}
        self.waiting: set[str] = set()
        """Runs to be looked at again: an export waits for its verdict to be compared, or an alias for its export."""

    def keep(self, runs: Collection[str]) -> None:
        """Forgets all runs but these."""
        self._insignificant = {key for key in self._insignificant if key[0] in runs}
        self._told = {run: reason for run, reason in self._told.items() if run in runs}
        self.waiting.intersection_update(runs)

    def check(self, run: RunExports) -> None:
        """Sees to aliases whose export is gone."""
        with self._trying(run):
            self._book.look(run.id)
            self._check(run)

    def _check(self, run: RunExports) -> None:
        for alias, entry in list(self._book.of(run.id).items()):
            if entry.canary is not None and self._gone(run, entry.canary.step):
                self._book.canary(run.id, alias, None, reason=f"the export of step {entry.canary.step} is gone")
            if self._gone(run, entry.step):
                self._mend(run, alias, entry.step, f"the export of step {entry.step} is gone")

    def tend(self, run: RunExports) -> None:
        """Moves `best` and `latest` if something better, or newer, can answer."""
        self.waiting.discard(run.id)
        with self._trying(run):
            self._book.look(run.id)
            self._check(run)
            self._tend_best(run)
            self._tend_latest(run)

    def mend(self, run: RunExports, alias: str, step: int, why: str) -> bool:
        """Takes an alias away from an export that cannot answer.

        Args:
            run: The run.
            alias: The alias.
            step: Of the export.
            why: What is wrong with it.

        Returns:
            Whether the alias points at another export now.
        """
        moved = False
        with self._trying(run):
            self._book.look(run.id)
            moved = not self._may_come(run, step) and self._mend(run, alias, step, why)
        return moved

    def _mend(self, run: RunExports, alias: str, step: int, why: str) -> bool:
        entry = self._book.of(run.id).get(alias)
        if entry is None:
            return False
        if entry.canary is not None and entry.canary.step == step:
            return self._book.canary(run.id, alias, None, reason=f"the canary ended: {why}")
        if entry.step != step:
            return True
        for moves in _earlier(entry, run, but=step):
            export = run.export(moves[-1].step)
            if self._prove(export, True) and self._book.back(
                run.id, alias, moves, reason=f"back to step {export.manifest.step}: {why}", pinned=entry.pinned
            ):
                return True
        self._book.remove(run.id, alias, reason=f"points at nothing any more: {why}")
        if alias == BEST:
            self._tend_best(run)
        elif alias == LATEST:
            self._tend_latest(run)
        return alias in self._book.of(run.id)

    def place(self, run: RunExports, alias: str, *, step: int | None, pinned: bool | None, reason: str) -> Alias:
        """Points an alias at an export by hand, or pins or frees it.

        Args:
            run: The run.
            alias: The alias.
            step: Of the export; None: where it is.
            pinned: Whether it stays there; None: `best` and `latest` do, others need not be told.
            reason: For its history.

        Returns:
            What the alias is now.

        Raises:
            NotFoundError: There is no such export, or, without a step, no such alias.
            UnavailableError: The export does not answer.
        """
        entry = self._now(run, alias)
        if step is None:
            if entry is None:
                raise _unknown(run, alias)
            self._book.pin(run.id, alias, pinned=bool(pinned), reason=reason)
            return self._book.of(run.id)[alias]
        export = self._answering(run, step)
        pin = alias in AUTOMATIC if pinned is None else pinned
        if not self._book.move(
            run.id, alias, step, precision=export.manifest.precision_at_1, reason=reason, pinned=pin
        ):
            raise NotFoundError(f"the export of step {step} was removed in this moment", where="step")
        return self._book.of(run.id)[alias]

    def roll_back(self, run: RunExports, alias: str, *, reason: str) -> Alias:
        """Points an alias at where it was before. `best` and `latest` are pinned there, or they would move at once.

        Returns:
            What the alias is now.

        Raises:
            NotFoundError: There is no such alias.
            ConflictError: Nowhere it has been answers any more.
        """
        entry = self._now(run, alias)
        if entry is None:
            raise _unknown(run, alias)
        for moves in _earlier(entry, run, but=entry.step):
            if self._prove(run.export(moves[-1].step), True) and self._book.back(
                run.id, alias, moves, reason=reason, pinned=entry.pinned or alias in AUTOMATIC
            ):
                return self._book.of(run.id)[alias]
        raise ConflictError(f"{alias} has not been anywhere else that still answers", where=f"run {run.id}")

    def try_out(self, run: RunExports, alias: str, canary: Canary | None, *, reason: str) -> Alias:
        """Has another export answer a share of an alias' requests, or ends that.

        Returns:
            What the alias is now.

        Raises:
            NotFoundError: There is no such alias or export.
            ConflictError: The alias points at that export.
            UnavailableError: The export does not answer.
        """
        entry = self._now(run, alias)
        if entry is None:
            raise _unknown(run, alias)
        if canary is not None:
            if canary.step == entry.step:
                raise ConflictError(f"{alias} points at step {canary.step} already", where="step")
            self._answering(run, canary.step)
        if not self._book.canary(run.id, alias, canary, reason=reason):
            raise NotFoundError("the export was removed in this moment", where="step")
        return self._book.of(run.id)[alias]

    def remove(self, run: RunExports, alias: str, *, reason: str) -> None:
        """Removes an alias; `best` and `latest` go back to moving by themselves.

        Raises:
            NotFoundError: There is no such alias.
        """
        if self._now(run, alias) is None:
            raise _unknown(run, alias)
        self._book.remove(run.id, alias, reason=reason)
        if alias in AUTOMATIC:
            self.tend(run)

    def _answering(self, run: RunExports, step: int) -> Export:
        export = run.export(step)
        if not self._prove(export, True):
            why = self._failure(export)
            reason = "" if why is None else f": {why}"
            raise UnavailableError(f"the export of step {step} does not answer{reason}", where=f"run {run.id}")
        return export

    def _now(self, run: RunExports, alias: str) -> Alias | None:
        self._book.look(run.id)
        return self._book.of(run.id).get(alias)

    def _gone(self, run: RunExports, step: int) -> bool:
        if any(export.manifest.step == step for export in run.exports):
            return False
        # A run of which nothing is left on the volume is no model any more.
        return not (run.exports and self._in_memory(run.id, step)) and not self._may_come(run, step)

    def _may_come(self, run: RunExports, step: int) -> bool:
        """Whether an export that is not there, or not whole, may be on its way; then the run is looked at again."""
        if self._has_answered(run.id, step) or not self._arriving(self._volume.run(run.id)):
            return False
        self.waiting.add(run.id)
        return True

    @contextlib.contextmanager
    def _trying(self, run: RunExports) -> Iterator[None]:
        try:
            yield
        except (ConflictError, OSError) as error:
            reason = str((isinstance(error, OSError) and error.strerror) or error)
            if self._told.get(run.id) != reason:
                log.error("the aliases of run %s stay where they are: %s", run.id, reason, extra={"run": run.id})
            self._told[run.id] = reason
        else:
            self._told.pop(run.id, None)

    def _tend_best(self, run: RunExports) -> None:
        entry = self._book.of(run.id).get(BEST)
        if entry is not None and entry.pinned:
            return
        for export in run.exports:  # the best first
            precision = export.manifest.precision_at_1
            if entry is not None and precision <= entry.now.precision_at_1:
                return
            reason = f"precision at 1 is {precision:.4f}"
            if entry is not None:
                reason += f", was {entry.now.precision_at_1:.4f}"
                if run.significant and (why := self._significance(run, export, entry)) is None:
                    continue
                reason += f" ({why})" if run.significant else ""
            if self._prove(export, True) and self._moved(run, BEST, export, reason):
                return

    def _tend_latest(self, run: RunExports) -> None:
        entry = self._book.of(run.id).get(LATEST)
        if entry is not None and entry.pinned:
            return
        for export in sorted(run.exports, key=lambda export: export.manifest.step, reverse=True):
            if entry is not None and export.manifest.step <= entry.step:
                return
            if self._prove(export, False) and self._moved(run, LATEST, export, "the newest export"):
                return

    def _moved(self, run: RunExports, alias: str, export: Export, reason: str) -> bool:
        step, precision = export.manifest.step, export.manifest.precision_at_1
        moved = self._book.move(run.id, alias, step, precision=precision, reason=reason)
        if moved:
            log.info("%s of run %s is step %d now: %s", alias, run.id, step, reason, extra={"run": run.id})
        return moved

    def _significance(self, run: RunExports, export: Export, entry: Alias) -> str | None:
        """What makes the export significantly better than what the alias points at; None if nothing does."""
        key = (run.id, export.manifest.step, entry.step)
        if key in self._insignificant:
            return None
        folder = self._volume.run(run.id)
        decay = export.manifest.decay
        kind = "raw" if decay is None else ema_kind(decay)
        try:
            now, then = (
                read_answers(folder, kind, read_record(folder.verdict(step, kind), Verdict))
                for step in (export.manifest.step, entry.step)
            )
        except (NotFoundError, VolumeError, OSError):
            self.waiting.add(run.id)  # an export's verdict comes a moment after it
            return None
        if not now.comparable(then):
            self._insignificant.add(key)
            return None
        gained, lost = (len(indices) for indices in now.discordant(then))
        test = mcnemar(gained, lost)
        if gained > lost and test.significant:
            return f"McNemar's test: p = {test.p_value:.2g}"
        self._insignificant.add(key)
        return None


def _earlier(entry: Alias, run: RunExports, *, but: int) -> Iterator[tuple[Move, ...]]:
    """What the alias' moves were when it pointed at exports that are still there, newest first."""
    steps = {export.manifest.step for export in run.exports} - {but}
    for end in range(len(entry.moves) - 1, 0, -1):
        if entry.moves[end - 1].step in steps:
            yield entry.moves[:end]


def _unknown(run: RunExports, alias: str) -> TandemError:
    return NotFoundError(f"there is no alias {alias}", where=f"run {run.id}")
