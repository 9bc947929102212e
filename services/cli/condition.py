"""Conditions such as `ema_precision>=0.86 and step>=2000`: what `tandem wait --until` waits for. Pure.

    condition   := comparison { "and" comparison }
    comparison  := metric ( ">=" | "<=" | ">" | "<" | "==" | "!=" ) number

Metrics of verdicts (`ema_…`, `raw_…`) are looked at one judged step at a time, so all comparisons hold for the weights
of one and the same checkpoint; `step` then is that checkpoint's. All others are the run's, as it stands now.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.cli.client.views import Evaluation, Run
from shared.errors import InputError

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_COMPARISON = re.compile(
    r"\s*([a-z_]\w*)\s*(>=|<=|==|!=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*", re.ASCII | re.IGNORECASE
)
_AND = re.compile(r"\band\b|&&|,", re.IGNORECASE)

# By the end of the metric's name, behind `ema_` or `raw_`.
_OF_VERDICTS: Mapping[str, Callable[[Evaluation], float | None]] = {
    "precision": lambda verdict: verdict.precision_at_1,
    "precision_low": lambda verdict: None if verdict.interval is None else verdict.interval[0],
    "precision_high": lambda verdict: None if verdict.interval is None else verdict.interval[1],
    "precision_at_k": lambda verdict: verdict.precision_at_k,
    "loss": lambda verdict: verdict.loss,
}
_OF_RUNS: Mapping[str, Callable[[Run], float | None]] = {
    "step": lambda run: float(run.step),
    "progress": lambda run: run.progress,
    "loss": lambda run: run.loss,
    "average_loss": lambda run: run.average_loss,
    "learning_rate": lambda run: run.learning_rate,
    "examples_per_second": lambda run: run.examples_per_second,
    "wall_seconds": lambda run: run.wall_seconds,
    "restarts": lambda run: float(run.restarts),
}
METRICS = (*(f"{kind}_{name}" for kind in ("ema", "raw") for name in _OF_VERDICTS), *_OF_RUNS)


@dataclass(frozen=True)
class Comparison:
    """One metric against one number."""

    metric: str
    operator: str
    number: float

    @property
    def kind(self) -> str | None:
        """`ema` or `raw` if it is about verdicts on such weights."""
        kind, _, rest = self.metric.partition("_")
        return kind if rest in _OF_VERDICTS and kind in {"ema", "raw"} else None

    def __str__(self) -> str:
        return f"{self.metric}{self.operator}{self.number:g}"

    def holds(self, value: float | None) -> bool:
        """Whether it holds for this value; what is not known yet holds for nothing."""
        return value is not None and _OPERATORS[self.operator](value, self.number)


@dataclass(frozen=True)
class Outcome:
    """Whether a condition holds, and the values that came nearest to it: those it holds for, else the newest."""

    holds: bool
    values: Mapping[str, float | None]

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {'unknown' if value is None else f'{value:.6g}'}" for name, value in self.values.items()
        )


@dataclass(frozen=True)
class Condition:
    """Comparisons that must all hold."""

    comparisons: tuple[Comparison, ...]

    def __str__(self) -> str:
        return " and ".join(map(str, self.comparisons))

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of weights, `ema` and `raw`, whose verdicts it is about."""
        return frozenset(each.kind for each in self.comparisons if each.kind is not None)

    def look(self, run: Run, evaluations: Sequence[Evaluation]) -> Outcome:
        """Whether it holds now.

        Args:
            run: As it stands.
            evaluations: All that there are of it.
        """
        newest: Mapping[str, float | None] = {}
        for newest in self._moments(run, evaluations):
            if all(each.holds(newest[each.metric]) for each in self.comparisons):
                return Outcome(holds=True, values=newest)
        return Outcome(holds=False, values=newest)

    def _moments(self, run: Run, evaluations: Sequence[Evaluation]) -> Iterator[dict[str, float | None]]:
        """What is known at each judged step, ascending; for a condition without verdicts at the present one alone."""
        if not self.kinds:
            yield {each.metric: _OF_RUNS[each.metric](run) for each in self.comparisons}
            return
        primary = _primary(run)
        about = [one for one in evaluations if one.weights == "raw" or primary is None or one.decay == primary]
        steps: list[int | None] = [*sorted({one.step for one in about})]
        for step in steps or [None]:
            verdicts: dict[str, Evaluation] = {one.weights: one for one in about if one.step == step}
            yield {each.metric: _value(each, run, verdicts, step) for each in self.comparisons}


def parse_condition(text: str) -> Condition:
    """The condition that `text` spells.

    Raises:
        InputError: It spells none; says which part is wrong.
    """
    return Condition(tuple(_comparison(part) for part in _AND.split(text)))


def _comparison(text: str) -> Comparison:
    found = _COMPARISON.fullmatch(text)
    if found is None:
        raise InputError(
            f"{text.strip()!r} is no comparison", where="--until", hint="Such as 'ema_precision>=0.86 and step>=1000'"
        )
    metric, sign, number = found.groups()
    if metric not in METRICS:
        raise InputError(f"nothing is called {metric!r}", where="--until", hint=f"There are {', '.join(METRICS)}")
    return Comparison(metric=metric, operator=sign, number=float(number))


def _value(each: Comparison, run: Run, verdicts: Mapping[str, Evaluation], step: int | None) -> float | None:
    if each.kind is not None:
        verdict = verdicts.get(each.kind)
        return None if verdict is None else _OF_VERDICTS[each.metric.partition("_")[2]](verdict)
    if each.metric == "step":
        return step
    return _OF_RUNS[each.metric](run)


def _primary(run: Run) -> float | None:
    """The decay of the average that is served, where a run has several."""
    ema = run.spec.get("ema")
    decays = ema.get("decays") if isinstance(ema, dict) else None
    return decays[0] if decays else None
