"""A run as it stands: the state it is in, and what goes with that."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.gateway.index import Run
from services.gateway.steering.state import RunState
from services.gateway.steering.transitions import Transition, refusal
from services.gateway.steering.turns import NO_TURNS, Turns
from shared.records import TrainerStatus
from shared.states import State


@dataclass(frozen=True)
class Situation:
    """A run, the state it is in, and what goes with that.

    Attributes:
        run: The run.
        state: Its state, and the reason for it.
        slot: Where its trainer works, or is to.
        allowed: What may be asked of it now.
        restarts: How many trainers died since it was last asked to train.
        seconds: For how long trainers have worked on it.
        cost: Of that time, where there is a price.
        position: Its place in the queue, from 1 on, if it waits for a slot.
        turns: Of its trainers and evaluators, if it alternates.
    """

    run: Run
    state: RunState
    slot: str | None
    allowed: tuple[Transition, ...] = ()
    restarts: int = 0
    seconds: float = 0.0
    cost: float | None = None
    position: int | None = None
    turns: Turns = NO_TURNS

    @property
    def id(self) -> str:
        """The run's id."""
        return self.run.id

    @property
    def created(self) -> float:
        """When the run was made, in seconds since the epoch."""
        return self.run.created

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.spec.name

    @property
    def labels(self) -> dict[str, str]:
        """The run's labels."""
        return self.run.labels

    @property
    def state_name(self) -> State:
        """The state that it is in."""
        return self.state.state

    @property
    def precedence(self) -> tuple[int, float, str]:
        """Sorts runs that wait: those of greater priority first, of equal ones the older."""
        return (-self.run.tags.priority, self.run.created, self.run.id)

    def require(self, asked: Transition) -> None:
        """Returns if this may be asked of the run now.

        Raises:
            ConflictError: It may not; names what may.
        """
        if asked not in self.allowed:
            raise refusal(asked, self.run, self.state.state, self.state.reason, now=self.allowed)


def waiting(situations: Iterable[Situation]) -> list[Situation]:
    """Those that wait for a slot, in the order in which they get one."""
    return sorted((each for each in situations if each.state.state == "queued"), key=lambda each: each.precedence)


def worked(status: TrainerStatus | None, *, since: float | None, now: float) -> float:
    """For how many seconds the trainer at work has been there: by its own word, else since it was started or found.

    Args:
        status: What it says.
        since: When it was started or found; None if none works.
        now: Seconds since the epoch, as `since`.
    """
    if since is None:
        return 0.0
    if status is not None and status.time >= since:
        return max(0.0, status.time - status.started)
    return max(0.0, now - since)
