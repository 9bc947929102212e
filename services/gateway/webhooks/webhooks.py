"""All webhooks of a gateway."""

from collections.abc import Callable, Sequence

from services.gateway.feed import Feed
from services.gateway.metrics import WebhookMetrics
from services.gateway.webhooks.configuration import Webhook
from services.gateway.webhooks.positions import Positions
from services.gateway.webhooks.post import Post
from services.gateway.webhooks.sender import Sender
from shared.lifecycle import StopEvent


class Webhooks:
    """Starts, wakes and stops the senders.

    Args:
        hooks: What is sent, and where.
        feed: What happened.
        positions: How far they have come.
        post: Sends one request.
        metrics: Where deliveries are counted.
        time: Seconds since the epoch.
        stop: Ends them.
    """

    def __init__(
        self,
        *,
        hooks: Sequence[Webhook],
        feed: Feed,
        positions: Positions,
        post: Post,
        metrics: WebhookMetrics,
        time: Callable[[], float],
        stop: StopEvent,
    ) -> None:
        self._feed = feed
        self._positions = positions
        self._senders = [
            Sender(hook=hook, feed=feed, positions=positions, post=post, metrics=metrics, time=time, stop=stop)
            for hook in hooks
        ]

    def start(self) -> None:
        """Starts to send. Of a webhook that is new, what happens from now on is sent.

        Raises:
            OSError: Positions cannot be read or written.
        """
        self._positions.begin(self._feed)
        for sender in self._senders:
            sender.start()

    def wake(self) -> None:
        """Says that something may have happened."""
        for sender in self._senders:
            sender.wake()

    def stop(self, seconds: float = 1.0) -> None:
        """Waits for the senders for so long; the stop event must have been set. What is left goes on next time."""
        self.wake()
        for sender in self._senders:
            sender.join(seconds)
