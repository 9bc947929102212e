"""Waits until a condition holds for a run, or cannot hold any more, or the time is up: training as a test.

A run that is over makes no more figures of its own; verdicts on its checkpoints may still come. So a condition is given
up when the run is over and its newest checkpoint has been judged for all the kinds of weights that the condition names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from services.cli.client import Client
from services.cli.client.views import Evaluation, Run
from services.cli.condition import Condition, Outcome
from shared.errors import UnavailableError


class End(Enum):
    """How waiting ended."""

    TRUE = "holds"
    NEVER = "cannot hold any more"
    FAILED = "failed"
    TOO_LATE = "did not hold in time"


@dataclass(frozen=True)
class Waited:
    """How it ended, and what was seen last."""

    end: End
    run: Run
    outcome: Outcome | None


class Waiter:
    """Looks at one run again and again.

    Args:
        client: Of the gateway.
        condition: What to wait for; None for the run to be over.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
        tell: Is told of each look: the run, and how the condition stands.
        poll: Seconds between looks.
        patience: Seconds without a gateway until it is given up.
    """

    def __init__(
        self,
        *,
        client: Client,
        condition: Condition | None,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        tell: Callable[[Run, Outcome | None], None],
        poll: float = 1.0,
        patience: float = 120.0,
    ) -> None:
        self._client = client
        self._condition = condition
        self._clock = clock
        self._sleep = sleep
        self._tell = tell
        self._poll = poll
        self._patience = patience

    def wait(self, run_id: str, *, timeout: float | None) -> Waited:
        """Waits.

        Args:
            run_id: The run.
            timeout: Seconds; None waits for as long as it takes.

        Raises:
            NotFoundError: There is no such run (any more).
            UnavailableError: No gateway at first, or for longer than `patience`.
        """
        deadline = None if timeout is None else self._clock() + timeout
        last: Waited | None = None
        away: float | None = None
        while True:
            try:
                ended, last = self._look(run_id)
                away = None
            except UnavailableError:
                away = self._clock() if away is None else away
                if last is None or self._clock() - away > self._patience:
                    raise
                ended = False
            if ended:
                return last
            if deadline is not None and self._clock() >= deadline:
                return Waited(end=End.TOO_LATE, run=last.run, outcome=last.outcome)
            rest = self._poll if deadline is None else min(self._poll, deadline - self._clock())
            self._sleep(max(0.0, rest))

    def _look(self, run_id: str) -> tuple[bool, Waited]:
        # The run first: verdicts that come between the two calls are then seen, not missed.
        run = self._client.run(run_id)
        if self._condition is None:
            self._tell(run, None)
            end = {"completed": End.TRUE, "failed": End.FAILED}.get(run.state, End.NEVER)
            return run.finished, Waited(end=end, run=run, outcome=None)
        evaluations = self._client.evaluations(run_id) if self._condition.kinds else []
        outcome = self._condition.look(run, evaluations)
        self._tell(run, outcome)
        if outcome.holds:
            return True, Waited(end=End.TRUE, run=run, outcome=outcome)
        end = End.FAILED if run.state == "failed" else End.NEVER
        return run.finished and self._judged(run, evaluations), Waited(end=end, run=run, outcome=outcome)

    def _judged(self, run: Run, evaluations: Sequence[Evaluation]) -> bool:
        """Whether no verdict is to come that the condition is about."""
        if run.checkpoint_step is None or self._condition is None:
            return True
        kinds = {one.weights for one in evaluations if one.step == run.checkpoint_step}
        return kinds >= self._condition.kinds
