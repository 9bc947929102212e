"""The gateway's metrics, all on the registry that is passed in. Labels take few values: no path, no free name."""

from prometheus_client import CollectorRegistry, Counter, Histogram

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


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

    def observe(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one request."""
        known = method if method in METHODS else "other"
        self._requests.labels(method=known, route=route, code=str(status)).inc()
        self._seconds.labels(route=route).observe(seconds)
