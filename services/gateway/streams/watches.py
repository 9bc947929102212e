"""Views of runs, watched for changes: what the `state` messages of streams say."""

import secrets
import zlib

from services.gateway.encoded import EncodedViews
from services.gateway.steering.situation import Situation
from services.gateway.steering.situations import Situations
from shared.errors import TandemError
from shared.states import SETTLED


class RunWatch:
    """The view of one run.

    Args:
        run: Its id.
        runs: Tells how it stands.
        views: Encodes it.
    """

    def __init__(self, *, run: str, runs: Situations, views: EncodedViews) -> None:
        self._run = run
        self._runs = runs
        self._views = views
        self.gone = False
        self.data = b""
        self.digest = 0

    def look(self) -> bool:
        """Looks at it; whether it has changed."""
        try:
            data = self._views.encoded(self._runs.show(self._run))
        except TandemError as error:
            changed = not self.gone
            self.gone = error.code == "not_found"
            return changed and self.gone
        changed = data is not self.data
        self.data, self.digest = data, zlib.crc32(data)
        return changed


class AllRunsWatch:
    """The views of all runs, each with the number of its last change.

    Numbers grow with each change, and mean something for as long as this object lives: `token` tells it from others.

    Args:
        runs: Tells how they stand.
        views: Encodes them.
    """

    def __init__(self, *, runs: Situations, views: EncodedViews) -> None:
        self._runs = runs
        self._views = views
        self._seen: dict[str, Situation] = {}
        self._changed: dict[str, tuple[int, bytes]] = {}
        self._begun = False
        self.token = secrets.randbits(40)
        self.version = 0

    def look(self) -> bool:
        """Looks at all; whether one has changed."""
        before = self.version
        situations = self._runs.awake()
        for situation in situations:
            run = situation.run.id
            if self._seen.get(run) is situation:
                continue
            self._seen[run] = situation
            if not self._begun and situation.state.state in SETTLED:
                continue  # whoever begins to listen has asked for the list, or does
            data = self._views.encoded(situation)
            known = self._changed.get(run)
            if known is None or known[1] is not data:
                self.version += 1
                self._changed[run] = (self.version, data)
        self._begun = True
        if len(self._seen) > len(situations):
            for run in self._seen.keys() - {each.run.id for each in situations}:
                del self._seen[run]
                self._changed.pop(run, None)
        return self.version != before

    def since(self, version: int) -> list[tuple[int, bytes]]:
        """The views that changed after a version, each with its own, in order. At first: of all runs at work."""
        if version >= self.version:
            return []
        return sorted(each for each in list(self._changed.values()) if each[0] > version)

    def shown(self, run: str) -> bytes | None:
        """The view of one run as it is now; None if it is not there."""
        try:
            return self._views.encoded(self._runs.show(run))
        except TandemError:
            return None
