"""Which verdict of a run is the best so far, and whether new weights differ from it by more than chance.

Files: reads `evaluations/<step>/<kind>.json` and `.answers`; removes the answers that retention gives up.
"""

import logging
from collections import OrderedDict

from shared import atomic
from shared.answers import Answers, read_answers
from shared.errors import NotFoundError, VolumeError
from shared.layout import RunFolder, listed_steps
from shared.records import Comparison, Verdict, read_record_or_none
from shared.significance import mcnemar

_LOG = logging.getLogger(__name__)


class Standings:
    """Knows how the weights of each run and kind were judged. Not thread-safe.

    Args:
        keep: How many of the newest answers to single examples are kept for each run and kind of weights; besides them
            those of the best, and of every checkpoint and export that is still there.
        runs: How many runs' verdicts are kept in mind, so that each is read once.
    """

    def __init__(self, *, keep: int, runs: int = 100) -> None:
        self._keep = keep
        self._runs = runs
        self._known: OrderedDict[tuple[str, str], dict[int, float | None]] = OrderedDict()

    def comparison(self, folder: RunFolder, step: int, kind: str, answers: Answers) -> Comparison | None:
        """These answers against those of the best weights of this kind at other steps; None where there are none."""
        best = self._best(folder, kind, but=step)
        if best is None:
            return None
        try:
            verdict = read_record_or_none(folder.verdict(best, kind), Verdict)
            if verdict is None or verdict.precision_at_1 is None:
                return None
            other = read_answers(folder, kind, verdict)
        except (NotFoundError, VolumeError, OSError) as error:
            _LOG.warning(
                "%s at step %d cannot be compared with step %d: %s",
                folder.id,
                step,
                best,
                error,
                extra={"run": folder.id},
            )
            return None
        if not answers.comparable(other):
            return None  # the test set has changed, so the examples are others
        these, those = (len(indices) for indices in answers.discordant(other))
        result = mcnemar(these, those)
        return Comparison(
            step=best,
            precision_at_1=verdict.precision_at_1,
            only_these=these,
            only_those=those,
            p_value=result.p_value,
            method=result.method,
        )

    def tidy(self, folder: RunFolder, kind: str) -> None:
        """Removes the answers that are not kept.

        Raises:
            OSError: One could not be removed.
        """
        steps = [step for step in listed_steps(folder.evaluations) if folder.answers(step, kind).exists()]
        kept = {*steps[-self._keep :], *listed_steps(folder.checkpoints), *listed_steps(folder.exports)}
        kept.add(-1 if (best := self._best(folder, kind)) is None else best)
        for step in steps:
            if step not in kept:
                atomic.remove_file(folder.answers(step, kind))

    def _best(self, folder: RunFolder, kind: str, *, but: int | None = None) -> int | None:
        """The step of the highest precision at 1, of equals the earliest."""
        precisions = self._read(folder, kind)
        ranked = [(precision, -step) for step, precision in precisions.items() if precision is not None and step != but]
        return -max(ranked)[1] if ranked else None

    def _read(self, folder: RunFolder, kind: str) -> dict[int, float | None]:
        known = self._known.setdefault((folder.id, kind), {})
        self._known.move_to_end((folder.id, kind))
        while len(self._known) > self._runs:
            self._known.popitem(last=False)
        for step in listed_steps(folder.evaluations):
            if step in known:
                continue
            try:
                verdict = read_record_or_none(folder.verdict(step, kind), Verdict)
            except VolumeError:
                continue  # damaged, or of another release: no rival
            if verdict is not None and verdict.status != "corrupt":  # which may be withdrawn
                known[step] = verdict.precision_at_1 if verdict.status == "judged" else None
        return known
