"""The protocol of launchers. A slot is a place where one trainer can run; which run it trains stands on the volume."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Observation:
    """What a launcher sees of a slot now.

    Attributes:
        alive: A trainer is there, by whomever it was started.
        pid: Its process id, where that is known.
        exit_code: How the last trainer ended, where that is known; negative: by that signal.
        retired: No trainer is to be started here any more; one of an earlier configuration still works.
        out_of_memory: It was killed because it took more memory than it may, and whoever ran it says so.
    """

    alive: bool
    pid: int | None = None
    exit_code: int | None = None
    retired: bool = False
    out_of_memory: bool = False


class Launcher(Protocol):
    """Starts and stops trainers in slots. Called from one thread at a time; no call waits for a trainer.

    Where an engine of its own runs the trainers, every method raises UnavailableError while that is away: nothing is
    known of any slot then, nothing was changed, and nobody may conclude anything from it.
    """

    def check(self) -> None:
        """Returns if trainers can be seen and started now. Unlike the others it may be called from any thread."""
        ...

    def slots(self) -> Sequence[str]:
        """The names of all slots, those first that are to be used first."""
        ...

    def start(self, slot: str) -> int | None:
        """Starts a trainer in `slot`, which reads its assignment there. Returns its process id, where there is one.

        Raises:
            ConflictError: There is one already.
            OSError: It could not be started.
        """
        ...

    def stop(self, slot: str, grace: float) -> None:
        """Asks the trainer to release its slot. If it has not ended `grace` seconds later, `observe` kills it."""
        ...

    def kill(self, slot: str) -> None:
        """Ends the trainer now."""
        ...

    def observe(self, slot: str) -> Observation:
        """What is there now."""
        ...
