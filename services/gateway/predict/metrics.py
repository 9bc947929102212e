"""The metrics of predicting, on the registry that is passed in.

Labels stay few: a model that is not known is counted as `unknown`, and the label sets of all but the newest
`KEPT_VERSIONS` versions are dropped. So a counter of an old version may vanish, as Prometheus expects of old targets.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

KEPT_VERSIONS = 64
KEPT_RUNS = 100
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Version = tuple[str, str, str]


@dataclass
class _Counted:
    """The metrics of one version: looking them up by their labels each time takes longer than counting."""

    seconds: Histogram
    codes: dict[str, Counter] = field(default_factory=dict)


class PredictMetrics:
    """Requests are counted by the event loop's thread alone; batches by whichever thread infers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "tandem_predict_requests",
            "Requests to classify, by the model asked, the step and weights that answered, and the HTTP status.",
            ("model", "version", "weights", "code"),
            registry=registry,
        )
        self._seconds = Histogram(
            "tandem_predict_seconds",
            "Seconds from a request's first byte to its answer, by what was asked and what answered.",
            ("model", "version", "weights"),
            buckets=SECONDS,
            registry=registry,
        )
        self._inference_seconds = Histogram(
            "tandem_predict_inference_seconds", "Seconds of one batch in the model.", buckets=SECONDS, registry=registry
        )
        self._batch_size = Histogram(
            "tandem_predict_batch_size", "Pictures taken together.", buckets=SIZES, registry=registry
        )
        self._swaps = Counter("tandem_predict_swaps", "Times a better model took over.", registry=registry)
        self._failures = Counter(
            "tandem_predict_load_failures", "Exports that could not be served, by code.", ("code",), registry=registry
        )
        self._moves = Counter(
            "tandem_alias_changes",
            "Times an alias moved, or something was decided about it.",
            ("alias",),
            registry=registry,
        )
        self._alias_step = Gauge(
            "tandem_alias_step",
            "The step that an alias of a run points at, of the runs whose aliases moved last.",
            ("run", "alias"),
            registry=registry,
        )
        self._moved: OrderedDict[str, None] = OrderedDict()
        self.waiting = Gauge("tandem_predict_waiting_images", "Pictures that wait for the model.", registry=registry)
        self.loaded = Gauge("tandem_predict_loaded_models", "Models in memory.", registry=registry)
        self._versions: OrderedDict[Version, _Counted] = OrderedDict()

    def answered(self, *, version: Version, status: int, seconds: float) -> None:
        """Counts one request; `version` is the model asked, and the step and weights that answered."""
        code = str(status)
        counted = self._versions.get(version)
        if counted is None:
            counted = self._versions[version] = _Counted(seconds=self._seconds.labels(*version))
            self._forget()
        counter = counted.codes.get(code)
        if counter is None:
            counter = counted.codes[code] = self._requests.labels(*version, code)
        counter.inc()
        counted.seconds.observe(seconds)

    def inferred(self, *, images: int, seconds: float) -> None:
        """Counts one batch."""
        self._batch_size.observe(images)
        self._inference_seconds.observe(seconds)

    def alias(self, run: str, alias: str, step: int | None) -> None:
        """Shows where an alias points now; None: nowhere."""
        self._moves.labels(alias).inc()
        if step is None:
            self._alias_step.remove_by_labels({"run": run, "alias": alias})
            return
        self._alias_step.labels(run, alias).set(step)
        self._moved[run] = None
        self._moved.move_to_end(run)
        while len(self._moved) > KEPT_RUNS:
            self._alias_step.remove_by_labels({"run": self._moved.popitem(last=False)[0]})

    def swapped(self) -> None:
        """Counts one change of the model that answers for a run."""
        self._swaps.inc()

    def load_failed(self, code: str) -> None:
        """Counts one export that could not be served; `code` is its error's."""
        self._failures.labels(code).inc()

    def _forget(self) -> None:
        while len(self._versions) > KEPT_VERSIONS:
            version, counted = self._versions.popitem(last=False)
            self._seconds.remove(*version)
            for code in counted.codes:
                self._requests.remove(*version, code)
