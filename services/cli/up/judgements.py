"""Turns the growing list of verdicts into one line for each step, once all its kinds of weights are judged. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from services.cli.client.views import Evaluation
from services.cli.output import figures_of


class Judgements:
    """Remembers which steps it has told of.

    Args:
        kinds: The kinds of weights that each checkpoint has, as `RunSpec.weights_kinds` names them.
    """

    def __init__(self, *, kinds: Sequence[str]) -> None:
        self._kinds = frozenset(kinds)
        self._verdicts: dict[int, dict[str, Evaluation]] = defaultdict(dict)
        self._told: set[int] = set()

    def add(self, evaluations: Iterable[Evaluation]) -> list[str]:
        """Takes what is judged by now; gives a line for each step that is newly complete, in order."""
        for evaluation in evaluations:
            self._verdicts[evaluation.step][evaluation.kind] = evaluation
        ready = sorted(step for step in self._verdicts if step not in self._told and self.complete(step))
        self._told.update(ready)
        return [self._line(step) for step in ready]

    def passed_over(self, evaluations: Iterable[Evaluation]) -> str | None:
        """Takes what was judged before one looked; gives one line about the newest of it, if there is any."""
        lines = self.add(evaluations)
        return lines[-1] if lines else None

    def rest(self) -> list[str]:
        """A line for each step that was judged in part."""
        steps = sorted(step for step in self._verdicts if step not in self._told)
        self._told.update(steps)
        return [self._line(step) for step in steps]

    def complete(self, step: int) -> bool:
        """Whether every kind of weights of `step` has its verdict."""
        return self._kinds <= self._verdicts.get(step, {}).keys()

    def any(self) -> bool:
        """Whether anything was judged with figures, so that there is something to ask."""
        return any(one.precision_at_1 is not None for kinds in self._verdicts.values() for one in kinds.values())

    def _line(self, step: int) -> str:
        # The average comes first: it is what the run is about.
        found = sorted(self._verdicts[step].values(), key=lambda one: (one.weights != "ema", -(one.decay or 0)))
        return f"evaluation  step {step:,}: precision at 1 {', '.join(figures_of(one) for one in found)}"
