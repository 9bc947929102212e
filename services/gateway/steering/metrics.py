"""Metrics of runs, on the registry that is passed in."""

from collections import Counter as CountOf
from collections.abc import Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.gateway.steering.turns import Turns
from shared.states import SETTLED, STATES, State


class TurnMetrics:
    """How trainer and evaluator of each run that alternates share their slot's time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Gauge(
            "tandem_alternation_seconds",
            "Seconds of whole periods, by activity: training, evaluating, switching.",
            ("run", "activity"),
            registry=registry,
        )
        self._share = Gauge(
            "tandem_alternation_share", "The same, as a share of all of them.", ("run", "activity"), registry=registry
        )
        self._period = Gauge(
            "tandem_alternation_period_seconds",
            "How long the last period took, from one evaluator's end to the next one's.",
            ("run",),
            registry=registry,
        )
        self._shown: frozenset[str] = frozenset()

    def show(self, turns: Mapping[str, Turns]) -> None:
        """Shows these runs, and no others any more."""
        for run in self._shown - turns.keys():
            for gauge in (self._seconds, self._share, self._period):
                gauge.remove_by_labels({"run": run})
        for run, each in turns.items():
            self._period.labels(run=run).set(each.period or 0.0)
            shares = each.shares()
            for activity, seconds in each.seconds().items():
                self._seconds.labels(run=run, activity=activity).set(seconds)
                self._share.labels(run=run, activity=activity).set(shares[activity])
        self._shown = frozenset(turns)


class RunMetrics:
    """How many steps the reconcile loop failed in, and the state of each run.

    A run that has settled is shown for as long as it is among the newest `settled_shown`, so a volume with thousands of
    runs does not make thousands of series.
    """

    def __init__(self, registry: CollectorRegistry, *, settled_shown: int = 50) -> None:
        self._settled_shown = settled_shown
        self._state = Gauge(
            "tandem_run_state", "1 for the state that a run is in.", ("run", "state"), registry=registry
        )
        self._runs = Gauge("tandem_runs", "Runs on the volume, by state.", ("state",), registry=registry)
        self.failures = Counter(
            "tandem_reconcile_failures", "Steps of the reconcile loop that raised an error.", registry=registry
        )
        self._shown: dict[str, State] = {}
        self._turns = TurnMetrics(registry)

    def show(
        self,
        states: dict[str, State],
        turns: Mapping[str, Turns] = MappingProxyType({}),
        shelved: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Shows the states of runs, given oldest first, and the turns of those that alternate.

        Args:
            states: Of each run.
            turns: Of those that alternate.
            shelved: How many other runs there are in each state; they are counted only.
        """
        settled = [run for run, state in states.items() if state in SETTLED]
        hidden = set(settled[: -self._settled_shown])
        shown = {run: state for run, state in states.items() if run not in hidden}
        for run, state in self._shown.items():
            if shown.get(run) != state:
                self._state.remove(run, state)
        for run, state in shown.items():
            self._state.labels(run=run, state=state).set(1)
        self._shown = shown
        self._turns.show({run: each for run, each in turns.items() if run in shown})
        counts = CountOf(states.values())
        for state in STATES:
            self._runs.labels(state=state).set(counts[state] + shelved.get(state, 0))
