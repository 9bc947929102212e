"""Commits one checkpoint: refuses what is not finite, writes it, and lets go of those that no rule keeps."""

import logging
from collections.abc import Callable, Mapping

import numpy as np

from services.trainer.engine import Groups
from services.trainer.journal import Events
from services.trainer.metrics import TrainerMetrics
from shared.checkpoints import Checkpoint, CheckpointStore, spec_digest
from shared.errors import DivergedError
from shared.records import Rollback
from shared.retention import Pruner
from shared.spec import RunSpec

log = logging.getLogger(__name__)


class Committer:
    """Commits the checkpoints of one run, one at a time, from whichever thread.

    Args:
        store: Where they go.
        pruner: Is run after each commit.
        spec: The run's specification.
        fence: This trainer's fencing number.
        dataset_fingerprint: Of the data it learns from.
        numerics: What decides the last bits of its results.
        rollbacks: Every time the run went back.
        guard: Called between writing and renaming; raises FencedError when another trainer has taken over.
        events: Told of each commit.
        metrics: Counts them.
        clock: Monotonic seconds.
        time: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        store: CheckpointStore,
        pruner: Pruner,
        spec: RunSpec,
        fence: int,
        dataset_fingerprint: str,
        numerics: Mapping[str, str],
        rollbacks: tuple[Rollback, ...] = (),
        guard: Callable[[], None],
        events: Events,
        metrics: TrainerMetrics,
        clock: Callable[[], float],
        time: Callable[[], float],
    ) -> None:
        self._store = store
        self._pruner = pruner
        self._spec = spec
        self._fence = fence
        self._dataset_fingerprint = dataset_fingerprint
        self._numerics = numerics
        self._rollbacks = rollbacks
        self._guard = guard
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._time = time

    def commit(self, *, step: int, groups: Groups, loss: float) -> Checkpoint:
        """Commits what `Engine.snapshot` gave at `step`.

        Raises:
            DivergedError: The loss, a weight or an average is not a finite number; nothing was written.
            FencedError: Another trainer has taken over; nothing of it is left.
            OSError: It could not be written; nothing of it is left.
        """
        refuse_unless_finite(step=step, groups=groups, loss=loss)
        began = self._clock()
        checkpoint = self._store.commit(
            step=step,
            fence=self._fence,
            spec_sha256=spec_digest(self._spec),
            spec=self._spec.model_dump(mode="json"),
            dataset_fingerprint=self._dataset_fingerprint,
            groups=groups,
            loss=loss,
            numerics=self._numerics,
            rollbacks=self._rollbacks,
            time=self._time(),
            before_rename=self._guard,
        )
        seconds = self._clock() - began
        size = sum(file.size for file in checkpoint.manifest.files.values())
        self._metrics.write_seconds.observe(seconds)
        self._metrics.checkpoint_bytes.set(size)
        self._metrics.checkpoint_step.set(step)
        self._metrics.commits.inc()
        self._events.record(
            "checkpoint_committed",
            f"Checkpoint at step {step} committed ({size / 1e6:.1f} MB in {seconds * 1e3:.0f} ms)",
            step=step,
            seconds=round(seconds, 4),
            bytes=size,
        )
        self._prune()
        return checkpoint

    def _prune(self) -> None:
        try:
            self._pruner.prune()
        except OSError as error:
            self._metrics.prune_failures.inc()
            log.warning("A checkpoint that no rule keeps could not be removed: %s", error)


def refuse_unless_finite(*, step: int, groups: Groups, loss: float) -> None:
    """Makes sure that the loss and every floating-point number is finite.

    Raises:
        DivergedError: One is not; names it.
    """
    if not np.isfinite(loss):
        raise DivergedError(f"the loss is {loss}", where=f"step {step}", hint=_HINT)
    for kind, arrays in groups.items():
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DivergedError(f"{kind} {name} is not finite", where=f"step {step}", hint=_HINT)


_HINT = "The last good checkpoint is kept; a lower learning rate or another seed may help"
