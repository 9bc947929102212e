"""The evaluator's metrics, declared on a registry that is passed in.

Labels: `run` is a run's id; `weights` a kind of weights as on the volume (`raw`, `ema-0.9999`); `top` is 1 or the
spec's k. Series of runs that are long quiet are dropped, so that their number does not grow with the volume.
"""

from collections import OrderedDict
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.evaluator.figures import Figures
from services.evaluator.ledger import Lag

OUTCOMES = ("judged", "corrupt", "failed", "retried", "pruned", "abandoned")

_RUNS_SHOWN = 100


class EvaluatorMetrics:
    """Declares and sets them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._precision = Gauge(
            "tandem_evaluation_precision",
            "Share of the test set whose label is among the `top` most probable classes, of the newest verdict.",
            ["run", "weights", "top"],
            registry=registry,
        )
        self._interval = Gauge(
            "tandem_evaluation_precision_interval",
            "Bounds of the Wilson score interval at 95% of precision at 1, of the newest verdict.",
            ["run", "weights", "bound"],
            registry=registry,
        )
        self._calibration = Gauge(
            "tandem_evaluation_calibration_error",
            "Expected calibration error in 15 bins, of the newest verdict.",
            ["run", "weights"],
            registry=registry,
        )
        self._drift = Gauge(
            "tandem_evaluation_drift",
            "Change of all weights since the checkpoint before, relative to their norm, of the newest verdict.",
            ["run", "weights"],
            registry=registry,
        )
        self._step = Gauge("tandem_evaluation_step", "Step of the newest verdict.", ["run"], registry=registry)
        self._lag_steps = Gauge(
            "tandem_evaluation_lag_steps",
            "Steps between the newest checkpoint that waits and the newest that was judged.",
            ["run"],
            registry=registry,
        )
        self._lag_seconds = Gauge(
            "tandem_evaluation_lag_seconds",
            "How long the newest checkpoint has been waiting for its verdict.",
            ["run"],
            registry=registry,
        )
        self._backlog = Gauge("tandem_evaluation_backlog", "Checkpoints that wait for a verdict.", registry=registry)
        self._outcomes = Counter(
            "tandem_evaluations", "Checkpoints taken in hand, by outcome.", ["outcome"], registry=registry
        )
        self._problems = Counter(
            "tandem_evaluation_problems", "What went wrong, by error code.", ["code"], registry=registry
        )
        self._start = Histogram(
            "tandem_evaluation_start_seconds",
            "From a commit to the start of its evaluation.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
            registry=registry,
        )
        self._seconds = Histogram(
            "tandem_evaluation_seconds",
            "Judging one kind of weights on the whole test set.",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
            registry=registry,
        )
        self._exports = Counter("tandem_exports", "Exports, by outcome.", ["outcome"], registry=registry)
        self._export_seconds = Histogram(
            "tandem_export_seconds",
            "Making, checking and committing an export.",
            buckets=(0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=registry,
        )
        for outcome in OUTCOMES:
            self._outcomes.labels(outcome)
        for outcome in ("made", "failed"):
            self._exports.labels(outcome)
        self._shown: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._lagging: frozenset[str] = frozenset()

    def verdict(
        self, run: str, step: int, kind: str, figures: Figures, *, seconds: float, drift: float | None = None
    ) -> None:
        """Shows the figures of one verdict, unless a later step's are shown already."""
        self._seconds.observe(seconds)
        shown = self._shown.setdefault(run, {})
        self._shown.move_to_end(run)
        if step < shown.get(kind, -1):
            return
        shown[kind] = step
        self._step.labels(run).set(max(shown.values()))
        self._precision.labels(run, kind, "1").set(figures.precision_at_1)
        for bound, value in zip(("lower", "upper"), figures.interval, strict=True):
            self._interval.labels(run, kind, bound).set(value)
        self._calibration.labels(run, kind).set(figures.calibration.error)
        if drift is not None:
            self._drift.labels(run, kind).set(drift)
        if figures.top_k > 1:
            self._precision.labels(run, kind, str(figures.top_k)).set(figures.precision_at_k)
        while len(self._shown) > _RUNS_SHOWN:
            old, _ = self._shown.popitem(last=False)
            self._step.remove_by_labels({"run": old})
            self._precision.remove_by_labels({"run": old})
            self._interval.remove_by_labels({"run": old})
            self._calibration.remove_by_labels({"run": old})
            self._drift.remove_by_labels({"run": old})

    def lag(self, lags: Sequence[Lag], *, backlog: int, now: float) -> None:
        """Shows how far judging is behind.

        Args:
            lags: Of each run that matters now.
            backlog: Checkpoints that wait.
            now: Seconds since the epoch.
        """
        self._backlog.set(backlog)
        shown = lags[:_RUNS_SHOWN]
        for lag in shown:
            self._lag_steps.labels(lag.run).set(lag.steps)
            self._lag_seconds.labels(lag.run).set(max(0.0, now - lag.since) if lag.since is not None else 0.0)
        names = frozenset(lag.run for lag in shown)
        for run in self._lagging - names:
            self._lag_steps.remove(run)
            self._lag_seconds.remove(run)
        self._lagging = names

    def outcome(self, outcome: str) -> None:
        """Counts a checkpoint taken in hand; `outcome` is one of `OUTCOMES`."""
        self._outcomes.labels(outcome).inc()

    def problem(self, code: str) -> None:
        """Counts an error by its code."""
        self._problems.labels(code).inc()

    def started(self, seconds: float) -> None:
        """Shows how long after its commit a checkpoint was taken in hand."""
        self._start.observe(max(0.0, seconds))

    def export(self, *, made: bool, seconds: float) -> None:
        """Counts an export that was tried."""
        self._exports.labels("made" if made else "failed").inc()
        self._export_seconds.observe(seconds)
