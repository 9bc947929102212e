"""Which checkpoints are kept, and the removal of the others.

Kept are the newest, the best by EMA precision, one each so many steps, pinned ones, those being read, and the last of a
finished run. The verdicts on a checkpoint that is removed stay: they are the run's history. Only who holds the lock of
the run's trainer may remove: the trainer itself, or whoever clears up after the last one.
"""

import logging
from collections.abc import Callable, Collection, Mapping

from shared.checkpoints import CheckpointStore, pinned_steps
from shared.errors import VolumeError
from shared.layout import RunFolder
from shared.leases import LeaseWatch
from shared.records import Verdict, read_record_or_none
from shared.spec import RetentionSpec, RunSpec

log = logging.getLogger(__name__)


def dispensable(
    steps: list[int],
    *,
    rule: RetentionSpec,
    precisions: Mapping[int, float],
    final: int,
    pinned: Collection[int] = (),
) -> list[int]:
    """The steps that no rule keeps, ascending. Leases are not looked at here.

    Args:
        steps: All steps with a checkpoint.
        rule: How many to keep.
        precisions: Precision at 1 of those that were judged.
        final: The run's last step.
        pinned: Steps that somebody wants kept.
    """
    newest = sorted(steps)[-rule.latest :]
    # Of equally good ones the older is kept: it is the one that others may already point at.
    judged = sorted((step for step in steps if step in precisions), key=lambda step: (-precisions[step], step))
    regular = [step for step in steps if rule.every_steps is not None and step % rule.every_steps == 0]
    kept = {*newest, *judged[: rule.best], *regular, *pinned, final}
    return sorted(set(steps) - kept)


class Pruner:
    """Removes the checkpoints of one run that no rule keeps.

    Args:
        folder: The run.
        store: Its checkpoints.
        spec: Its specification.
        final: The run's last step, as far as is known now.
        leases: Tells which are being read.
        on_remove: Called with each step that was removed.
    """

    def __init__(
        self,
        *,
        folder: RunFolder,
        store: CheckpointStore,
        spec: RunSpec,
        final: Callable[[], int],
        leases: LeaseWatch,
        on_remove: Callable[[int], None],
    ) -> None:
        self._folder = folder
        self._store = store
        self._spec = spec
        self._final = final
        self._leases = leases
        self._on_remove = on_remove

    def prune(self) -> None:
        """Removes what may go. A checkpoint that is being read goes after a later commit.

        Raises:
            OSError: One could not be removed; it is tried again after the next commit.
        """
        try:
            pinned = pinned_steps(self._folder)
        except VolumeError as error:
            log.warning("Nothing is removed, since what is pinned cannot be read: %s", error)
            return
        steps = self._store.steps()
        precisions = {step: value for step in steps if (value := self._precision(step)) is not None}
        rule = self._spec.retention
        for step in dispensable(steps, rule=rule, precisions=precisions, final=self._final(), pinned=pinned):
            if self._leases.live(self._folder.lease(step)) is None:
                self._store.remove(step)
                self._on_remove(step)

    def _precision(self, step: int) -> float | None:
        try:
            verdict = read_record_or_none(self._folder.verdict(step, self._spec.primary_ema), Verdict)
        except VolumeError:
            return None
        return verdict.precision_at_1 if verdict is not None and verdict.status == "judged" else None
