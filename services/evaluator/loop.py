"""The evaluator's outer loop: notice, claim, assess, release, for ever. Knows nothing of TensorFlow.

Whatever goes wrong with one run concerns that run alone: it is told once, counted, and tried again later.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Literal

from services.evaluator.assessor import Assessor
from services.evaluator.claims import Claim, Claims
from services.evaluator.closing import Closing
from services.evaluator.events import EventLog
from services.evaluator.heartbeat import Heartbeat
from services.evaluator.judging import AbandonedError
from services.evaluator.ledger import Ledger
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.policy import Candidate
from services.evaluator.presence import Presence
from services.evaluator.retries import Retries, Suspicions
from services.evaluator.verdicts import VerdictWriter
from services.evaluator.watch import Watch
from shared import atomic
from shared.errors import (
    CorruptCheckpointError,
    DatasetError,
    InputError,
    NotFoundError,
    TandemError,
    UnknownSchemaError,
)
from shared.layout import RunFolder

_LOG = logging.getLogger(__name__)

# An error that nobody foresaw may be passing (memory, say), or the same for ever.
UNFORESEEN_ATTEMPTS = 6
# Runs looked through for what dead evaluators and trainers left whenever there is nothing else to do.
TIDIED_AT_ONCE = 20
# `run_once` gives up on what failed so often.
ONCE_ATTEMPTS = 3


class EvaluationLoop:
    """Judges what is due.

    Args:
        ledger: Knows what is due.
        watch: Waits for more.
        claims: Takes leases.
        assessor: Does the work.
        verdicts: Writes the verdicts on what cannot be judged.
        closing: Clears up in runs that are over.
        events: Where problems are told.
        metrics: Where all is counted.
        presence: Where this evaluator says what it is doing.
        retries: When what failed is tried again.
        suspicions: When what is damaged is given up.
        stopping: Whether a stop was asked for.
        wall: Seconds since the epoch.
        poll_seconds: Between two looks at the volume when nothing is due.
        beat_seconds: Between two heartbeats of a claim.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        watch: Watch,
        claims: Claims,
        assessor: Assessor,
        verdicts: VerdictWriter,
        closing: Closing,
        events: EventLog,
        metrics: EvaluatorMetrics,
        presence: Presence,
        retries: Retries,
        suspicions: Suspicions,
        stopping: Callable[[], bool],
        wall: Callable[[], float],
        poll_seconds: float,
        beat_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._watch = watch
        self._claims = claims
        self._assessor = assessor
        self._verdicts = verdicts
        self._closing = closing
        self._events = events
        self._metrics = metrics
        self._presence = presence
        self._retries = retries
        self._suspicions = suspicions
        self._stopping = stopping
        self._wall = wall
        self._poll_seconds = poll_seconds
        self._beat_seconds = beat_seconds
        self._tidied = 0

    def run(self) -> None:
        """Judges until a stop is asked for."""
        touched: set[str] = set()
        while not self._stopping():
            worked = self.step(touched)
            touched = self._watch.wait(0.0 if worked else self._poll_seconds)

    def run_once(self) -> bool:
        """Judges all that is due, including what others have in hand; returns whether nothing is left."""
        while not self._stopping():
            if self.step():
                continue
            left = self._ledger.due()
            if all(self._hopeless(candidate) for candidate in left):
                return not left
            self._watch.wait(self._poll_seconds)
        return False

    def step(self, touched: set[str] | frozenset[str] = frozenset()) -> bool:
        """Looks at the volume and takes the first checkpoint in hand that can be; returns whether there was one.

        Args:
            touched: Runs in which something is known to have appeared.
        """
        self._watch.follow(self._ledger.folders())
        self._ledger.refresh(touched)
        backlog = self._ledger.backlog
        self._metrics.lag(self._ledger.lags(), backlog=backlog, now=self._wall())
        self._presence.idle(backlog=backlog)
        for candidate in self._ledger.due():
            if self._stopping():
                return False
            if self._retries.ready(candidate.run) and self._retries.ready(_key(candidate)) and self._take(candidate):
                return True
        self._tidy()
        return False

    def _tidy(self) -> None:
        """Clears up in some runs: after evaluators that were killed when all was judged, and where a run is over."""
        folders = self._ledger.folders()
        for folder in folders[self._tidied : self._tidied + TIDIED_AT_ONCE]:
            leased = self._claims.leased(folder)
            for step in leased:
                with contextlib.suppress(OSError):
                    if (claim := self._claims.take(folder, step)) is not None:
                        atomic.sweep(folder.evaluations / str(step))
                        claim.release()
            if not leased:
                self._closing.close(folder, nothing_due=functools.partial(self._ledger.nothing_due, folder.id))
        self._tidied = self._tidied + TIDIED_AT_ONCE if self._tidied + TIDIED_AT_ONCE < len(folders) else 0

    def _take(self, candidate: Candidate) -> bool:
        folder = self._ledger.folder(candidate.run)
        try:
            claim = self._claims.take(folder, candidate.step)
        except FileNotFoundError:
            self._settle(candidate)  # the run was removed
            return False
        except OSError as error:
            self._put_off(folder, candidate, candidate.run, "lease", f"no lease could be taken: {error}")
            return False
        if claim is None:
            return False
        try:
            with Heartbeat(claim.beat, seconds=self._beat_seconds, name="lease"):
                self._presence.busy(candidate.run, candidate.step)
                self._work(folder, candidate, claim)
        finally:
            try:
                claim.release()
            except OSError as error:
                _LOG.warning("a lease could not be released and will expire: %s", error)
        return True

    def _work(self, folder: RunFolder, candidate: Candidate, claim: Claim) -> None:
        # Another evaluator may have finished it between the look at the volume and the claim.
        kinds = self._ledger.missing(candidate.run, candidate.step)
        if not kinds:
            self._settle(candidate)
            return
        # Only who holds the claim writes here, so what is half-written was left by someone killed.
        atomic.sweep(folder.evaluations / str(candidate.step))
        try:
            self._withdraw(folder, candidate, kinds, claim)
            self._assessor.assess(folder, candidate.step, kinds, wanted=lambda: self._goes_on(folder, claim))
        except AbandonedError:
            self._metrics.outcome("abandoned")
        except NotFoundError:
            self._metrics.outcome("pruned")
            self._settle(candidate)
        except CorruptCheckpointError as error:
            self._suspect(folder, candidate, error)
        except (DatasetError, InputError) as error:
            self._put_off(folder, candidate, candidate.run, error.code, str(error))
        except UnknownSchemaError as error:
            self._put_off(folder, candidate, _key(candidate), error.code, str(error))
        except OSError as error:
            if not folder.root.exists():
                self._metrics.outcome("pruned")
                self._settle(candidate)
                return
            self._put_off(folder, candidate, _key(candidate), "io", f"could not be read or written: {error}")
        except Exception as error:  # the outer edge of the loop: one run's trouble must not stop the others
            self._unforeseen(folder, candidate, error)
        else:
            self._metrics.outcome("judged")
            self._settle(candidate)

    def _withdraw(self, folder: RunFolder, candidate: Candidate, kinds: Sequence[str], claim: Claim) -> None:
        """Takes back verdicts that hold no longer; not those that a successor has written, if the claim was lost."""
        if not any(folder.verdict(candidate.step, kind).exists() for kind in kinds):
            return
        with claim.holding() as held:
            for kind in self._ledger.missing(candidate.run, candidate.step) if held else ():
                self._verdicts.withdraw(folder, candidate.step, kind)

    def _goes_on(self, folder: RunFolder, claim: Claim) -> bool:
        return not self._stopping() and not claim.lost and folder.root.exists()

    def _suspect(self, folder: RunFolder, candidate: Candidate, error: CorruptCheckpointError) -> None:
        appearance = self._suspicions.confirmed(folder.checkpoint(candidate.step))
        if appearance is None:
            self._retries.later(_key(candidate), self._suspicions.wait())
            self._metrics.outcome("retried")
            return
        self._condemn(folder, candidate, "corrupt", error, appearance=appearance)

    def _unforeseen(self, folder: RunFolder, candidate: Candidate, error: Exception) -> None:
        _LOG.exception(
            "%s at step %d",
            candidate.run,
            candidate.step,
            exc_info=error,
            extra={"run": candidate.run, "step": candidate.step},
        )
        text = f"{type(error).__name__}: {error}"
        attempts = self._put_off(folder, candidate, _key(candidate), "unforeseen", text)
        if attempts >= UNFORESEEN_ATTEMPTS:
            self._condemn(folder, candidate, "failed", TandemError(f"failed {attempts} times; at last: {text}"))

    def _condemn(
        self,
        folder: RunFolder,
        candidate: Candidate,
        status: Literal["corrupt", "failed"],
        error: TandemError,
        *,
        appearance: str = "",
    ) -> None:
        try:
            for kind in self._ledger.missing(candidate.run, candidate.step):
                self._verdicts.condemned(folder, candidate.step, kind, status, error, appearance=appearance)
        except OSError as problem:
            self._put_off(folder, candidate, _key(candidate), "io", f"could not be written: {problem}")
            return
        self._metrics.outcome(status)
        self._metrics.problem(error.code)
        self._events.add(folder, status, str(error), step=candidate.step)
        self._settle(candidate)

    def _put_off(self, folder: RunFolder, candidate: Candidate, key: object, code: str, message: str) -> int:
        failures = self._retries.failed(key)
        self._metrics.problem(code)
        self._metrics.outcome("retried")
        if failures == 1:
            self._events.add(folder, code, message, step=candidate.step)
        return failures

    def _settle(self, candidate: Candidate) -> None:
        self._ledger.settle(candidate.run, candidate.step)
        self._retries.forget(candidate.run)
        self._retries.forget(_key(candidate))

    def _hopeless(self, candidate: Candidate) -> bool:
        return max(self._retries.failures(candidate.run), self._retries.failures(_key(candidate))) >= ONCE_ATTEMPTS


def _key(candidate: Candidate) -> tuple[str, int]:
    return candidate.run, candidate.step
