"""How work in a slot has ended, and what follows: that it is written down, tried again after a while, or given up."""

import logging
from collections.abc import Callable

from services.gateway.index import Index, Run
from services.gateway.launchers.base import Observation
from services.gateway.steering import alternation, endings
from services.gateway.steering.journal import History, Journal
from services.gateway.steering.situation import worked
from services.gateway.steering.slots import Slot, assigned_run
from shared.records import Assignment

log = logging.getLogger(__name__)


class Settler:
    """Settles once what has ended, by its fencing number. Works under the lock of the reconcile loop.

    Args:
        index: What is known of the runs.
        journal: Where it is written down.
        clock: Monotonic seconds.
        time: Seconds since the epoch.
        attempts: How many trainers in a row may die without a new checkpoint before the run has failed.
        backoff: Seconds before the first restart; doubled with each further one.
        longest_backoff: Where the doubling ends.
    """

    def __init__(
        self,
        *,
        index: Index,
        journal: Journal,
        clock: Callable[[], float],
        time: Callable[[], float],
        attempts: int,
        backoff: float,
        longest_backoff: float,
    ) -> None:
        self._index = index
        self._journal = journal
        self._clock = clock
        self._time = time
        self._attempts = attempts
        self._backoff = backoff
        self._longest_backoff = longest_backoff
        self._due: dict[str, float] = {}
        self._releasing = False

    def release(self) -> None:
        """From now on whoever lets go of a slot was asked to, since the gateway ends."""
        self._releasing = True

    def settle(self, slot: Slot) -> None:
        """Writes down that a trainer was found at work, or that it has ended and how."""
        run = assigned_run(slot, self._index)
        if run is None or slot.assignment is None:
            return
        fence = slot.assignment.fence
        history = self._journal.history(run.id)
        if slot.seen.alive:
            if history.spawned < fence:
                self._journal.write(
                    run.id, "adopted", "was found at work", slot=slot.name, fence=fence, pid=slot.seen.pid
                )
            return
        reported = run.status is not None and run.status.fence == fence
        if history.ended >= fence or not (history.spawned >= fence or reported):
            return
        self.end(run, slot.name, slot.assignment, slot.seen)

    def end(self, run: Run, slot: str, ended: Assignment, seen: Observation, trouble: str | None = None) -> None:
        """Writes down how the work on a run in a slot has ended, and when it is tried again.

        Args:
            run: The run.
            slot: Where its trainer or evaluator was.
            ended: What that one was to do.
            seen: How its process ended.
            trouble: Why it could not even be started, if that is so.
        """
        run = self._index.get(run.id)  # its last words may be newer than the last refresh
        fence = ended.fence
        if ended.task == "evaluate":
            self._end_turn(run, slot, fence, seen, trouble)
            return
        status = run.status if run.status is not None and run.status.fence == fence else None
        history = self._history(run)
        now = self._time()
        step = run.checkpoint_step
        progress = step is not None and step > (history.started_step or 0)
        self._journal.write(
            run.id,
            "ended",
            trouble or endings.text(status, seen),
            slot=slot,
            fence=fence,
            exit_code=seen.exit_code,
            phase=None if status is None else status.phase,
            outcome=endings.outcome(status, seen.exit_code, run.desired, releasing=self._releasing),
            checkpoint_step=step,
            generation=run.generation,
            hopeless=endings.hopeless(status, seen, run.spec, progress=progress),
            seconds=worked(status, since=history.since, now=now),
        )
        history = self._history(run)
        if history.death is not None and not self.gives_up(run):
            delay = self._put_off(run, history.deaths)
            log.warning(
                "run %s: %s; the next trainer follows in %.0f s", run.id, history.death, delay, extra={"run": run.id}
            )

    def gives_up(self, run: Run) -> bool:
        """Decides whether a run whose trainer died has failed, and writes that down."""
        history = self._history(run)
        reason = endings.why_give_up(history, run.spec, attempts=self._attempts)
        if reason is None:
            return False
        self._due.pop(run.id, None)
        self._journal.write(run.id, "gave_up", reason, restarts=history.restarts)
        log.error("run %s has failed: %s", run.id, reason, extra={"run": run.id})
        return True

    def may_follow(self, run: Run) -> bool:
        """Whether the next one may be started for a run."""
        return self._clock() >= self._due.get(run.id, 0.0)

    def may_follow_a_death(self, run: Run) -> bool:
        """The same where a trainer died. If an earlier gateway settled that, the first delay begins now."""
        return self._clock() >= self._due.setdefault(run.id, self._clock() + self._backoff)

    def follows(self, run: Run) -> None:
        """The next one is being started, so nothing is waited for any more."""
        self._due.pop(run.id, None)

    def _end_turn(self, run: Run, slot: str, fence: int, seen: Observation, trouble: str | None) -> None:
        """Writes down how an evaluator's turn in the slot has ended."""
        asked = self._releasing or (run.desired is not None and run.desired.state != "running")
        text, details = alternation.ending(run, seen, interrupted=asked)
        history = self._history(run)
        self._journal.write(
            run.id,
            "ended",
            trouble or text,
            slot=slot,
            fence=fence,
            exit_code=seen.exit_code,
            phase=None,
            checkpoint_step=run.checkpoint_step,
            generation=run.generation,
            seconds=worked(None, since=history.since, now=self._time()),
            **details,
        )
        misses = self._history(run).turns.misses
        if misses:
            self._put_off(run, misses)
            log.warning("run %s: %s", run.id, trouble or text, extra={"run": run.id})

    def _put_off(self, run: Run, failures: int) -> float:
        """Has the next one wait for so many seconds."""
        delay = min(self._longest_backoff, self._backoff * 2.0 ** (failures - 1))
        self._due[run.id] = self._clock() + delay
        return delay

    def _history(self, run: Run) -> History:
        return self._journal.history(run.id).under(run.generation)
