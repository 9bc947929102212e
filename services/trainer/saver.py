"""Saves checkpoints while training goes on: the loop pays for copying the weights, a thread writes them.

One is written at a time. When the next is due and the disk has not finished the last, the loop waits for it for at most
`patience` seconds, so that on a healthy disk every due checkpoint is committed and on a hanging one training goes on. A
commit that fails with an OSError (a full disk, a bad one) is counted, and tried again with newer weights when the next
is due.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWriting
from typing import Protocol

from services.trainer.committer import Committer
from services.trainer.engine import Groups, Losses
from services.trainer.journal import Events
from services.trainer.metrics import TrainerMetrics
from shared.errors import NotWritableError

_RETRY = 0.5


class Source(Protocol):
    """What the saver needs of an engine."""

    def losses(self) -> Losses:
        """The losses of the newest step."""
        ...

    def snapshot(self) -> Groups:
        """Weights, averages and optimizer, copied to host memory."""
        ...


class Saver:
    """Saves the checkpoints of one run.

    Args:
        source: What is saved.
        committer: Commits it.
        committed: The step of the newest checkpoint there is, or None.
        patience: How many seconds the loop may wait for the last commit when the next is due.
        check: Called with the step and the losses of what is about to be saved; raises DivergedError.
        on_commit: Called from the thread with each step that was committed.
        events: Told what could not be committed.
        metrics: Counts it.
        clock: Monotonic seconds.
        wait: Sleeps; its result is not looked at.
    """

    def __init__(
        self,
        *,
        source: Source,
        committer: Committer,
        committed: int | None,
        patience: float,
        check: Callable[[int, Losses], None],
        on_commit: Callable[[int], None],
        events: Events,
        metrics: TrainerMetrics,
        clock: Callable[[], float],
        wait: Callable[[float], object],
    ) -> None:
        self._source = source
        self._committer = committer
        self._committed = committed
        self._patience = patience
        self._check = check
        self._on_commit = on_commit
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._wait = wait
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trainer-checkpoints")
        self._pending: Future[None] | None = None
        self._failing = False

    def save(self, step: int, _now: float) -> None:
        """Takes the weights of `step` and has them committed.

        Raises:
            DivergedError, FencedError: As found by the last commit.
        """
        began = self._clock()
        if self._settled(within=self._patience):
            loss, groups = self._take(step)
            self._pending = self._executor.submit(self._commit, step, groups, loss)
        else:
            self._metrics.skips.inc()
            self._events.record(
                "checkpoint_skipped", f"No checkpoint at step {step}: the last one is still being written", step=step
            )
        self._metrics.stall_seconds.observe(self._clock() - began)

    def check(self) -> None:
        """Raises what the last commit found, if it has ended: DivergedError or FencedError."""
        self._settled(within=0.0)

    def finish(self, step: int, *, within: float) -> None:
        """Sees the last commit through, then commits `step` unless it already is or nothing has been learnt yet.

        Args:
            step: The number of steps made.
            within: For how many seconds a failing commit is tried again.

        Raises:
            DivergedError, FencedError: As found by a commit.
            NotWritableError: It could not be written.
        """
        self._settled(within=None)
        if step in (0, self._committed):
            return
        loss, groups = self._take(step)
        deadline = self._clock() + within
        while (error := self._try(step, groups, loss)) is not None:
            if self._clock() >= deadline:
                raise NotWritableError(
                    f"the checkpoint at step {step} could not be written: {error.strerror or error}",
                    where=str(error.filename or "checkpoints"),
                    hint="Make room on the volume and start the run again: it goes on from its newest checkpoint",
                ) from error
            self._wait(_RETRY)

    def close(self) -> None:
        """Waits for the commit under way and ends the thread. What it found is not raised any more."""
        self._executor.shutdown(wait=True)

    def _take(self, step: int) -> tuple[float, Groups]:
        losses = self._source.losses()
        self._check(step, losses)
        return losses.loss, self._source.snapshot()

    def _settled(self, *, within: float | None) -> bool:
        if self._pending is None:
            return True
        try:
            self._pending.result(timeout=within)
        except StillWriting:
            return False
        except BaseException:
            self._pending = None
            raise
        self._pending = None
        return True

    def _commit(self, step: int, groups: Groups, loss: float) -> None:
        self._try(step, groups, loss)

    def _try(self, step: int, groups: Groups, loss: float) -> OSError | None:
        try:
            self._committer.commit(step=step, groups=groups, loss=loss)
        except OSError as error:
            self._metrics.failures.inc()
            self._events.record(
                "checkpoint_failed",
                f"The checkpoint at step {step} could not be committed, training goes on: {error}",
                step=step,
                level=logging.DEBUG if self._failing else logging.ERROR,  # once until one is committed again
                errno=error.errno,
            )
            self._failing = True
            return error
        self._failing = False
        self._committed = step
        self._on_commit(step)
        return None
