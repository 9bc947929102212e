"""What strikes whom, when, and for how long: a function of the seed and the duration alone."""

import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Action = Literal["kill", "freeze", "starve", "restart"]

ACTIONS: tuple[Action, ...] = ("kill", "freeze", "starve", "restart")
WEIGHTS = (4, 3, 2, 2)
GAP_SECONDS = 4.0
SHORTEST_SECONDS, LONGEST_SECONDS = 0.2, 8.0
# How a process ends that was killed, or asked to: 0, or by the signal where that met one that had only just begun, or
# with the last where it was asked twice.
DEATHS = frozenset({-signal.SIGKILL, -signal.SIGTERM, 0, 128 + signal.SIGTERM})


@dataclass(frozen=True)
class Fault:
    """One fault.

    `kill` is SIGKILL, `restart` SIGTERM; `freeze` is SIGSTOP and, after `seconds`, SIGCONT; `starve` freezes
    nine tenths of each tenth of a second, for `seconds`.

    Attributes:
        at: Seconds after the beginning.
        role: Whom it strikes.
        action: What it is.
        seconds: How long it lasts; 0 for kill and restart.
    """

    at: float
    role: str
    action: Action
    seconds: float

    @property
    def ends(self) -> bool:
        """Whether the process ends by it."""
        return self.action in ("kill", "restart")

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:6.1f} s  {self.action} {self.role}{lasting}"


def schedule(*, seed: int, seconds: float, roles: Sequence[str], gap: float = GAP_SECONDS) -> list[Fault]:
    """The faults of a soak, in order of time. The same arguments give the same faults.

    Args:
        seed: Of the generator.
        seconds: For how long they strike.
        roles: Whom.
        gap: Seconds from one to the next, on average.
    """
    generator = random.Random(seed)  # nosec B311 # to be repeated from its seed
    faults = []
    at = 0.0
    while (at := at + generator.expovariate(1 / gap)) < seconds:
        role = generator.choice(roles)
        action = generator.choices(ACTIONS, WEIGHTS)[0]
        lasting = generator.uniform(SHORTEST_SECONDS, LONGEST_SECONDS) if action in ("freeze", "starve") else 0.0
        faults.append(Fault(at=at, role=role, action=action, seconds=min(lasting, seconds - at)))
    return faults
