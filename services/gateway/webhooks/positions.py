"""How far each webhook has come in the feed: `gateway/webhooks/<name>.json`. The gateway is the files' one writer."""

import logging
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from services.gateway.feed import Feed
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
        names: Of the webhooks.
    """

    def __init__(self, *, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = names
        self._offsets: dict[str, int] = {}

    def begin(self, feed: Feed) -> None:
        """Finds the positions that earlier gateways kept; a webhook that is new begins at the feed's end.

        Raises:
            OSError: They cannot be read or written.
        """
        end = feed.end()
        for name in self._names:
            try:
                known = read_record_or_none(self._path(name), SentUpTo)
            except VolumeError as error:
                log.error("the webhook %s is sent everything again that there is: %s", name, error)
                known = SentUpTo(offset=0)
            if known is None:
                self.reach(name, end)
            else:  # a feed that was begun anew is sent from its beginning
                self._offsets[name] = known.offset if known.offset <= end else 0

    def of(self, name: str) -> int:
        """How far a webhook has come."""
        return self._offsets[name]

    def reach(self, name: str, offset: int, *, keep: bool = True) -> None:
        """Says that a webhook has come so far; without `keep` the file says so the next time.

        Raises:
            OSError: The file cannot be written.
        """
        self._offsets[name] = offset
        if keep:
            write_record(self._path(name), SentUpTo(offset=offset))

    def least(self) -> int | None:
        """How far the slowest has come; None if there are none."""
        return min(self._offsets.values(), default=None)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
