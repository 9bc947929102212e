"""How far each webhook has come in the feed: `gateway/webhooks/<name>.json`. The gateway is the files' one writer."""

import logging
import threading
from pathlib import Path

from pydantic import Field

from services.gateway.streams.feed import Feed
from shared.errors import VolumeError
from shared.records import Record, read_record_or_none, write_record

log = logging.getLogger(__name__)


class SentUpTo(Record):
    """How far a webhook has come, as an offset in the feed."""

    offset: int = Field(ge=0)


class Positions:
    """Knows, and keeps, how far each webhook has come.

    Args:
        folder: Where the files lie.
    """

    def __init__(self, *, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._offsets: dict[str, int] = {}

    def begin(self, name: str, feed: Feed) -> None:
        """Finds the position that was kept of a webhook; one that is new begins at the feed's end.

        Raises:
            OSError: It cannot be read or written.
        """
        end = feed.end()
        try:
            known = read_record_or_none(self._path(name), SentUpTo)
        except VolumeError as error:
            log.error("the webhook %s is sent everything again that there is: %s", name, error)
            known = SentUpTo(offset=0)
        # A feed that was begun anew is sent from its beginning.
        offset = end if known is None else known.offset if known.offset <= end else 0
        with self._lock:
            self._offsets[name] = offset
        if known is None:
            self.reach(name, end)

    def forget(self, name: str) -> None:
        """Waits no more for a webhook; its file stays, for the case that it comes back."""
        with self._lock:
            self._offsets.pop(name, None)

    def of(self, name: str) -> int:
        """How far a webhook has come."""
        return self._offsets[name]

    def reach(self, name: str, offset: int, *, keep: bool = True) -> None:
        """Says that a webhook has come so far; without `keep` the file says so the next time.

        Raises:
            OSError: The file cannot be written.
        """
        with self._lock:
            if name in self._offsets:
                self._offsets[name] = offset
        if keep:
            write_record(self._path(name), SentUpTo(offset=offset))

    def least(self) -> int | None:
        """How far the slowest has come; None if there are none."""
        with self._lock:
            return min(self._offsets.values(), default=None)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
