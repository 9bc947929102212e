"""Views of runs as JSON, encoded once for as long as nothing about a run changes."""

from services.gateway.index.shelf import Shelved
from services.gateway.steering.situation import Situation
from services.gateway.views import run_view

KEPT = 1_000


class EncodedViews:
    """Remembers the JSON of each run's view, beside what it was made from."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Situation, bytes]] = {}

    def encoded(self, situation: Situation | Shelved) -> bytes:
        """The view of a run as JSON."""
        if isinstance(situation, Shelved):
            return situation.view
        known = self._known.get(situation.run.id)
        if known is not None and known[0].run is situation.run and known[0] == situation:
            return known[1]
        data = run_view(situation).model_dump_json().encode()
        while len(self._known) >= KEPT:
            del self._known[next(iter(self._known))]
        self._known[situation.run.id] = (situation, data)
        return data
