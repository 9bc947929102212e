"""All webhooks of a gateway, as the operator's file names them now."""

import logging
from collections.abc import Callable, Sequence

from services.gateway.streams.feed import Feed
from services.gateway.webhooks.configuration import Webhook, WebhooksFile
from services.gateway.webhooks.metrics import WebhookMetrics
from services.gateway.webhooks.positions import Positions
from services.gateway.webhooks.post import Post
from services.gateway.webhooks.sender import Sender
from shared.errors import SettingsError
from shared.lifecycle import StopEvent

log = logging.getLogger(__name__)


class Webhooks:
    """Starts, wakes and stops the senders, and follows the file that names them.

    A file that cannot be used changes nothing: what it said before holds until it can.

    Args:
        file: What is sent, and where.
        feed: What happened.
        positions: How far they have come.
        post: Sends one request.
        metrics: Where deliveries are counted.
        time: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        file: WebhooksFile,
        feed: Feed,
        positions: Positions,
        post: Post,
        metrics: WebhookMetrics,
        time: Callable[[], float],
    ) -> None:
        self._file = file
        self._feed = feed
        self._positions = positions
        self._post = post
        self._metrics = metrics
        self._time = time
        self._senders: dict[str, Sender] = {}
        self._trouble: str | None = None

    def start(self, hooks: Sequence[Webhook]) -> None:
        """Starts to send. Of a webhook that is new, what happens from now on is sent.

        Raises:
            OSError: Positions cannot be read or written.
        """
        self._metrics.configured(good=True)
        self._use(hooks)

    def wake(self) -> None:
        """Says that something may have happened; also to the file."""
        self._follow()
        for sender in self._senders.values():
            sender.wake()

    def stop(self, seconds: float = 1.0) -> None:
        """Ends the senders, and waits so long for each. What is left goes on next time."""
        for sender in self._senders.values():
            sender.stop()
        for sender in self._senders.values():
            sender.join(seconds)

    def _follow(self) -> None:
        try:
            hooks = self._file.news()
        except SettingsError as error:
            if str(error) != self._trouble:
                log.error("the webhooks stay as they were until their file can be used: %s", error)
            self._trouble = str(error)
            self._metrics.configured(good=False)
            return
        if hooks is not None:
            log.info("the webhooks are now: %s", ", ".join(hook.name for hook in hooks) or "none")
            self._trouble = None
            self._metrics.configured(good=True)
            self._use(hooks)

    def _use(self, hooks: Sequence[Webhook]) -> None:
        wanted = {hook.name: hook for hook in hooks}
        for name in self._senders.keys() - wanted.keys():
            self._senders.pop(name).stop()
            self._positions.forget(name)
            self._metrics.forget(name)
        for name, hook in wanted.items():
            before = self._senders.get(name)
            if before is not None and before.hook == hook:
                continue
            if before is None:
                self._positions.begin(name, self._feed)
            else:
                before.stop()
            self._senders[name] = self._sender(hook, before)
            self._senders[name].start()

    def _sender(self, hook: Webhook, before: Sender | None) -> Sender:
        return Sender(
            hook=hook,
            feed=self._feed,
            positions=self._positions,
            post=self._post,
            metrics=self._metrics,
            time=self._time,
            stop=StopEvent(),
            after=before,
        )
