"""Metrics of webhooks, on the registry that is passed in."""

from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge


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
