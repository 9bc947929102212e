"""Metrics of requests and of the volume, on the registry that is passed in; each wing has those of its own matter.

Labels take few values: no path, no free name.
"""

import shutil
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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
