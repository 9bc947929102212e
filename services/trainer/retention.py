"""Which checkpoints are kept: the newest, the best by EMA precision, those being read, and the last of a finished run.

The verdicts on a checkpoint that is removed stay: they are the run's history, and they are not the trainer's.
"""

from collections.abc import Callable, Mapping

from shared.checkpoints import CheckpointStore
from shared.errors import VolumeError
from shared.layout import RunFolder
from shared.leases import LeaseWatch
from shared.records import Verdict, read_record_or_none
from shared.spec import RetentionSpec, RunSpec


def dispensable(steps: list[int], *, rule: RetentionSpec, precisions: Mapping[int, float], final: int) -> list[int]:
    """The steps that no rule keeps, ascending. Leases are not looked at here.

    Args:
        steps: All steps with a checkpoint.
        rule: How many to keep.
        precisions: Precision at 1 of those that were judged.
        final: The run's last step.
    """
    newest = sorted(steps)[-rule.latest :]
    # Of equally good ones the older is kept: it is the one that others may already point at.
    judged = sorted((step for step in steps if step in precisions), key=lambda step: (-precisions[step], step))
    kept = {*newest, *judged[: rule.best], final}
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
        steps = self._store.steps()
        precisions = {step: value for step in steps if (value := self._precision(step)) is not None}
        for step in dispensable(steps, rule=self._spec.retention, precisions=precisions, final=self._final()):
            if self._leases.live(self._folder.lease(step)) is None:
                self._store.remove(step)
                self._on_remove(step)

    def _precision(self, step: int) -> float | None:
        try:
            verdict = read_record_or_none(self._folder.verdict(step, self._spec.primary_ema), Verdict)
        except VolumeError:
            return None
        return verdict.precision_at_1 if verdict is not None and verdict.status == "judged" else None
