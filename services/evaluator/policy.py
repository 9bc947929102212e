"""Which checkpoints are judged, and in which order: pure functions of their steps.

newest-first   all; each run's newest before any backlog, newest runs first
all            all; oldest first
latest         each run's newest alone
every:<steps>  those whose step is a multiple, and the last one of a run that is finished or whose trainer has fallen
               silent; in the order of newest-first
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import SettingsError


@dataclass(frozen=True)
class Candidate:
    """One checkpoint that waits for its verdicts. `kinds` are those that have none; `newest` is about its own run."""

    run: str
    step: int
    kinds: tuple[str, ...]
    newest: bool


@dataclass(frozen=True)
class Policy:
    """One of the policies above; `every` is 0 but for the last."""

    name: str
    every: int = 0

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """The policy that a setting names.

        Raises:
            SettingsError: It names none.
        """
        name, _, number = text.replace(": ", ":").partition(":")
        if name == "every" and number.isascii() and number.isdigit() and int(number) > 0:
            return cls(name, int(number))
        if text in {"newest-first", "all", "latest"}:
            return cls(text)
        raise SettingsError(f"{text!r} is no policy", hint="It is newest-first, all, latest or every:<steps>")

    @property
    def asks_whether_finished(self) -> bool:
        """Whether `wanted` depends on a run being finished; where it does not, nobody needs to find out."""
        return self.name == "every"

    def wanted(self, steps: Sequence[int], *, finished: bool) -> list[int]:
        """Of the committed steps of one run, ascending, those that are to be judged.

        Args:
            steps: All that are there.
            finished: No further one will come, so the last is the final one, which is always judged.
        """
        if self.name == "latest":
            return list(steps[-1:])
        if self.name != "every":
            return list(steps)
        return [step for step in steps if step % self.every == 0 or (finished and step == steps[-1])]

    def ordered(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates of all runs, first to be judged first. Run ids begin with the time of their making."""
        if self.name == "all":
            return sorted(candidates, key=lambda item: (item.run, item.step))
        descending = sorted(candidates, key=lambda item: (item.run, item.step), reverse=True)
        return sorted(descending, key=lambda item: not item.newest)
