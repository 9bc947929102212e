"""Models in memory: loaded when they are needed, and put out when there are too many, least recently used first.

What could not be loaded is tried again after `RETRY_SECONDS`. One thread loads and puts out; any may look.
"""

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.gateway.predict.metrics import PredictMetrics
from services.gateway.predict.models import LoadedModel
from services.gateway.predict.store import Catalog, Export
from shared.errors import CorruptExportError, NotFoundError, TandemError

RETRY_SECONDS = 30.0

Key = tuple[str, int]
"""A run's id and a step: one export."""

log = logging.getLogger(__name__)


@dataclass
class _Held:
    """A model in memory. `asked`: for its own sake, so it stays when what answers for its run changes."""

    model: LoadedModel
    used: int
    asked: bool = False


@dataclass
class _Failed:
    error: TandemError
    retry: float


class ModelCache:
    """Holds models.

    Args:
        load: Makes a model of an export, warmed up; raises CorruptExportError, or NotFoundError if it is gone.
        metrics: Where failures are counted, and the models that are held.
        clock: Monotonic seconds.
        most: How many are held after `evict`.
    """

    def __init__(
        self,
        *,
        load: Callable[[Export], LoadedModel],
        metrics: PredictMetrics,
        clock: Callable[[], float],
        most: int,
    ) -> None:
        self._load = load
        self._metrics = metrics
        self._clock = clock
        self._most = most
        self._held: dict[Key, _Held] = {}
        self._failed: dict[Key, _Failed] = {}
        self._answered: set[Key] = set()
        self._uses = itertools.count()

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    def runs(self) -> set[str]:
        """The runs of which a model is held."""
        return {run for run, _ in self._held}

    def look(self, key: Key) -> LoadedModel | None:
        """The model of an export, if it is held. Does not count as a use."""
        held = self._held.get(key)
        return None if held is None else held.model

    def use(self, key: Key, *, asked: bool = False) -> LoadedModel | None:
        """The model of an export, if it is held.

        Args:
            key: Of the export.
            asked: Whether it was asked for its own sake, not for what it stands for now.
        """
        held = self._held.get(key)
        if held is None:
            return None
        held.used = next(self._uses)
        held.asked = held.asked or asked
        return held.model

    def failure(self, key: Key) -> TandemError | None:
        """Why an export could not be loaded when that was last tried."""
        failed = self._failed.get(key)
        return None if failed is None else failed.error

    def has_answered(self, key: Key) -> bool:
        """Whether an export was ever loaded and warmed up here."""
        return key in self._answered

    def prove(self, export: Export, *, keep: bool) -> bool:
        """Whether an export answers now; loads and warms it up if need be.

        Args:
            export: The export.
            keep: Whether it is held from now on; until somebody asks for it, it is the first to go.
        """
        if export.key in self._held:
            return True
        failed = self._failed.get(export.key)
        if failed is not None and self._clock() < failed.retry:
            return False
        try:
            model = self._load(export)
        except NotFoundError:
            return False  # the evaluator keeps a number of exports; the next look will not list it
        except CorruptExportError as error:
            if failed is None:
                log.error("%s", error, extra={"run": export.manifest.run, "step": export.manifest.step})
            self._failed[export.key] = _Failed(error=error, retry=self._clock() + RETRY_SECONDS)
            self._metrics.load_failed(error.code)
            return False
        self._failed.pop(export.key, None)
        self._answered.add(export.key)
        if keep:
            self._held[export.key] = _Held(model=model, used=-1)
            self._count()
        return True

    def follow(self, catalog: Catalog) -> None:
        """Forgets runs that are gone, and what was wrong with exports that are."""
        self._held = {key: held for key, held in self._held.items() if catalog.run(key[0]) is not None}
        self._answered = {key for key in self._answered if catalog.run(key[0]) is not None}
        present = {export.key for run in catalog.runs for export in run.exports}
        self._failed = {key: failed for key, failed in self._failed.items() if key in present}

    def succeed(self, before: Key, after: Key, *, stays: bool) -> None:
        """One model takes over from another: it counts as used when that was, which goes.

        Args:
            before: The one that answered until now.
            after: The one that answers from now on.
            stays: Whether the old one still stands for something.
        """
        old, new = self._held.get(before), self._held.get(after)
        if old is None or new is None:
            return
        new.used = old.used
        if not (stays or old.asked):
            del self._held[before]

    def evict(self) -> Iterator[Key]:
        """Puts out what was not used for longest, as long as there are too many; yields what each was."""
        while len(self._held) > self._most:
            key = min(self._held, key=lambda key: self._held[key].used)
            del self._held[key]
            yield key
        self._count()

    def _count(self) -> None:
        self._metrics.loaded.set(len(self._held))
