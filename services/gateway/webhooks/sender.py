"""Sends one webhook's messages, in order, each until it is taken, in a thread of its own.

How far it has come is kept on the volume after each message that was taken, so the next gateway goes on there: a
message may be sent twice, and never not at all. A receiver that is slow or gone delays nobody else: the feed keeps what
it has not had for up to 64 MiB, and what nobody took within three days is passed over, with a line in the log.
"""

import logging
import random
import threading
from collections.abc import Callable

from services.gateway.streams.feed import Change, Feed
from services.gateway.webhooks.configuration import Webhook, secrets_of
from services.gateway.webhooks.message import Message, headers, messages
from services.gateway.webhooks.metrics import WebhookMetrics
from services.gateway.webhooks.positions import Positions
from services.gateway.webhooks.post import Post
from shared.errors import SettingsError
from shared.lifecycle import StopEvent

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
LONGEST_AGE = 3 * 24 * 3600.0

log = logging.getLogger(__name__)


class Sender:
    """Sends the messages of one webhook.

    Args:
        hook: What is sent, and where.
        feed: What happened.
        positions: How far it has come.
        post: Sends one request.
        metrics: Where deliveries are counted.
        time: Seconds since the epoch.
        stop: Ends it, also while it waits.
        after: Sent the same webhook's messages before, to another address or others of them; this one goes on where
            that one has ended.
        first_pause: Seconds after the first failure; doubled after each further one.
    """

    def __init__(
        self,
        *,
        hook: Webhook,
        feed: Feed,
        positions: Positions,
        post: Post,
        metrics: WebhookMetrics,
        time: Callable[[], float],
        stop: StopEvent,
        after: "Sender | None" = None,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self.hook = hook
        self._feed = feed
        self._positions = positions
        self._post = post
        self._metrics = metrics
        self._time = time
        self._stop = stop
        self._after = after
        self._first_pause = first_pause
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"webhook-{hook.name}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Says that there may be something new."""
        self._news.set()

    def stop(self) -> None:
        """Asks the thread to end."""
        self._stop.set()
        self.wake()

    def join(self, seconds: float | None = None) -> None:
        """Waits for the end of the thread, for so long; one that waits for a receiver may be left behind."""
        self._thread.join(seconds)

    def send_all(self) -> None:
        """Sends whatever there is, each message until it was taken or the stop event is set.

        Raises:
            OSError: The position cannot be written.
        """
        name = self.hook.name
        for offset, change in self._feed.changes(self._positions.of(name)):
            mine = list(messages(self.hook, change))
            for message in mine:
                if not self._deliver(message, change):
                    return
            self._positions.reach(name, offset, keep=bool(mine))

    def _run(self) -> None:
        if self._after is not None:
            self._after.join()  # ten seconds at most, if it waits for an answer
            self._after = None
        trouble = None
        while not self._stop.is_set():
            try:
                self.send_all()
                trouble = None
            except Exception as error:
                if str(error) != trouble:
                    log.exception("the webhook %s cannot go on; it is tried again", self.hook.name)
                trouble = str(error)
            self._news.wait(LONGEST_PAUSE if trouble is None else FIRST_PAUSE)
            self._news.clear()

    def _deliver(self, message: Message, change: Change) -> bool:
        """Sends a message until it is taken or too old; False if it was asked to stop before."""
        failures = 0
        while not self._stop.is_set():
            problem = self._try(message)
            if problem is None:
                self._metrics.sent(self.hook.name, waited=self._time() - change.time)
                if failures:
                    log.info("the webhook %s is taken again", self.hook.name)
                return True
            self._metrics.failed(self.hook.name, waiting=self._time() - change.time)
            if failures == 0:
                log.warning("the webhook %s is not taken, and tried again: %s", self.hook.name, problem)
            if self._time() - change.time > LONGEST_AGE:
                log.error("the webhook %s was not taken for three days; %s is passed over", self.hook.name, message.id)
                self._metrics.dropped(self.hook.name)
                return True
            failures += 1
            pause = min(LONGEST_PAUSE, self._first_pause * 2 ** min(failures - 1, 20))
            self._stop.wait(pause * random.uniform(0.5, 1.0))  # nosec B311 # so that receivers of many gateways have peace
        return False

    def _try(self, message: Message) -> str | None:
        """Sends a message once; what went wrong, or None. Never says anything of the address or the secret."""
        try:
            secrets = secrets_of(self.hook)
        except SettingsError as error:
            return str(error)
        return self._post(self.hook.url, message.body, headers(message, secrets=secrets, now=int(self._time())))
