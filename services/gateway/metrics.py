"""The gateway's metrics, all on the registry that is passed in. Labels take few values: no path, no free name."""

import shutil
from collections import Counter as CountOf
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.gateway.turns import Turns
from shared.states import SETTLED, STATES, State

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def add_volume_metrics(registry: CollectorRegistry, *, volume: Path) -> None:
    """Declares how large the volume's file system is and how much of it is free, looked up at each scrape."""
    size = Gauge("tandem_volume_size_bytes", "Size of the volume's file system.", registry=registry)
    free = Gauge("tandem_volume_free_bytes", "Free on the volume's file system.", registry=registry)
    size.set_function(lambda: shutil.disk_usage(volume).total)
    free.set_function(lambda: shutil.disk_usage(volume).free)


class RequestMetrics:
    """Requests by method, route template and status, and their seconds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "tandem_gateway_requests", "Requests answered.", ("method", "route", "code"), registry=registry
        )
        self._seconds = Histogram(
            "tandem_gateway_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        # Looking a metric up by its labels takes longer than counting; there are as many as there are series.
        self._found: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def observe(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one request."""
        known = method if method in METHODS else "other"
        key = (known, route, status)
        found = self._found.get(key)
        if found is None:
            counter = self._requests.labels(method=known, route=route, code=str(status))
            found = self._found[key] = (counter, self._seconds.labels(route=route))
        found[0].inc()
        found[1].observe(seconds)


class WebhookMetrics:
    """What became of webhooks' messages, and how late they are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "tandem_webhook_requests",
            "Requests to receivers, by result: sent, failed (and tried again), dropped (given up).",
            ("webhook", "result"),
            registry=registry,
        )
        self._late = Gauge(
            "tandem_webhook_late_seconds",
            "Age of the message that was sent or tried last.",
            ("webhook",),
            registry=registry,
        )
        self._configured = Gauge(
            "tandem_webhook_file_good", "Whether the file of webhooks could be used as it is now.", registry=registry
        )

    def configured(self, *, good: bool) -> None:
        """Says whether the file of webhooks can be used."""
        self._configured.set(good)

    def forget(self, webhook: str) -> None:
        """Shows no more how late one is that is not there any more."""
        with suppress(KeyError):
            self._late.remove(webhook)

    def sent(self, webhook: str, *, waited: float) -> None:
        """Counts a message that was taken."""
        self._requests.labels(webhook=webhook, result="sent").inc()
        self._late.labels(webhook=webhook).set(waited)

    def failed(self, webhook: str, *, waiting: float) -> None:
        """Counts a request that was not taken."""
        self._requests.labels(webhook=webhook, result="failed").inc()
        self._late.labels(webhook=webhook).set(waiting)

    def dropped(self, webhook: str) -> None:
        """Counts a message that was given up."""
        self._requests.labels(webhook=webhook, result="dropped").inc()


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
