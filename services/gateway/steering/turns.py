"""How trainer and evaluator of a run that alternates have taken turns so far, from the gateway's events. Pure.

A period runs from one evaluator's end to the next one's (the first: from the first trainer's start). In it `training`
is the time in which steps were made, `evaluating` that in which checkpoints were judged and exported, both by the word
of those who did it, and `switching` is the rest: committing, ending, starting, importing, restoring. Only whole periods
count, which nothing interrupted.
"""

from dataclasses import dataclass, replace
from typing import Literal

from shared.records import Event

Activity = Literal["training", "evaluating", "switching"]


@dataclass(frozen=True)
class Turns:
    """Sums over whole periods, in seconds.

    Attributes:
        count: How many periods there were.
        training: In which steps were made.
        evaluating: In which checkpoints were judged.
        switching: The rest.
        period: How long the last one took.
        began: When the period under way began, in seconds since the epoch; None if none is.
        misses: How many evaluators in a row left the newest checkpoint unjudged.
    """

    count: int = 0
    training: float = 0.0
    evaluating: float = 0.0
    switching: float = 0.0
    period: float | None = None
    began: float | None = None
    misses: int = 0

    def seconds(self) -> dict[Activity, float]:
        """Seconds by activity."""
        return {"training": self.training, "evaluating": self.evaluating, "switching": self.switching}

    def shares(self) -> dict[Activity, float]:
        """Shares of all the time, which add up to 1; all 0 before the first period is over."""
        seconds = self.seconds()
        total = sum(seconds.values())
        return {activity: each / total if total else 0.0 for activity, each in seconds.items()}

    def after(self, event: Event) -> "Turns":
        """The turns after one more event of the gateway's."""
        match event.kind:
            case "spawned" | "adopted":
                return self if self.began is not None else replace(self, began=event.time)
            case "desired":
                return replace(self, began=None)
            case "ended":
                return self._after_end(event)
            case _:
                return self

    def _after_end(self, event: Event) -> "Turns":
        match event.details["outcome"]:
            case "evaluated":
                return self._after_period(event)
            case "not_evaluated":
                return replace(self, misses=self.misses + 1)
            case "yielded":
                return replace(self, misses=0)
            case _:
                return replace(self, misses=0, began=None)

    def _after_period(self, event: Event) -> "Turns":
        training, evaluating = event.details.get("training"), event.details.get("evaluating")
        judged = replace(self, misses=0, began=event.time)
        if self.began is None or training is None or evaluating is None:
            return judged
        period = max(event.time - self.began, training + evaluating)
        return replace(
            judged,
            count=self.count + 1,
            training=self.training + training,
            evaluating=self.evaluating + evaluating,
            switching=self.switching + period - training - evaluating,
            period=period,
        )


NO_TURNS = Turns()
