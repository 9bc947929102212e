"""Which model answers: follows the volume, loads what is better, and swaps it in whole.

One thread does all looking and loading. The answer for a run is replaced only by an export that is better, whose files
match their digests, and that has answered a warm-up; until then, and whenever that fails, the old one goes on. Whoever
has been given a model keeps it to the end of the request; its memory goes with the last of them.

At most `max_loaded` models stay in memory, and one more while it is being warmed up to take over. Beyond that the one
not asked for longest goes, and is loaded again when it is asked for. The best model of the newest run is loaded without
being asked.
"""

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from services.gateway.predict.metrics import PredictMetrics
from services.gateway.predict.models import LoadedModel
from services.gateway.predict.store import BEST, Catalog, Export, ExportStore, RunExports
from shared.errors import CorruptExportError, NotFoundError, TandemError, UnavailableError

RETRY_FAILED_SECONDS = 30.0

log = logging.getLogger(__name__)


@dataclass
class _Served:
    model: LoadedModel
    used: int


@dataclass
class _Failed:
    error: TandemError
    retry: float


@dataclass
class _Wishes:
    """Runs that requests wait for."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    futures: dict[str, Future[LoadedModel]] = field(default_factory=dict)


class Predictor:
    """Gives out models by name.

    Args:
        store: What is on the volume.
        load: Makes a model of an export, warmed up; raises CorruptExportError, or NotFoundError if it is gone.
        metrics: Where swaps and failures are counted.
        clock: Monotonic seconds.
        max_loaded: The most models in memory.
        poll_seconds: Between two looks at the volume.
    """

    def __init__(
        self,
        *,
        store: ExportStore,
        load: Callable[[Export], LoadedModel],
        metrics: PredictMetrics,
        clock: Callable[[], float],
        max_loaded: int = 4,
        poll_seconds: float = 0.5,
    ) -> None:
        self._store = store
        self._load = load
        self._metrics = metrics
        self._clock = clock
        self._max_loaded = max_loaded
        self._poll_seconds = poll_seconds
        self._catalog = Catalog()
        self._served: dict[str, _Served] = {}
        self._failed: dict[tuple[str, int], _Failed] = {}
        self._wishes = _Wishes()
        self._uses = itertools.count()
        self._eager: tuple[str, int] | None = None
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Looks at the volume once, then follows it in a thread."""
        self.refresh()
        self._thread = threading.Thread(target=self._follow, name="predict-follow", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; models in use stay usable."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._disappoint(self._take_wishes())

    def why_not_ready(self) -> str | None:
        """Why `best` cannot be answered now, or None if it can."""
        try:
            run = self._catalog.resolve(BEST)
        except TandemError as error:
            return error.message
        if run.id in self._served:
            return None
        failed = self._failed.get(run.exports[0].key)
        if failed is not None:
            return str(failed.error)
        # Loaded before and put out since: it comes back with the next request for it.
        return None if self._eager == run.exports[0].key else "the best model is being loaded"

    def catalog(self) -> Catalog:
        """What is on the volume, as last seen."""
        return self._catalog

    def loaded(self, run: str) -> LoadedModel | None:
        """The model that answers for this run, if it is in memory. Does not count as a use."""
        served = self._served.get(run)
        return served.model if served else None

    async def model(self, name: str) -> LoadedModel:
        """The model that `name` means now, loaded if need be.

        Raises:
            NotFoundError: There is no such run.
            UnavailableError: Nothing of it can be served yet; says why.
        """
        run = self._catalog.resolve(name)
        served = self._served.get(run.id)
        if served is not None:
            served.used = next(self._uses)
            return served.model
        with self._wishes.lock:
            future = self._wishes.futures.setdefault(run.id, Future())
        self._wake.set()
        # Shielded: others may wait for the same load, so who gives up must not cancel it.
        return await asyncio.shield(asyncio.wrap_future(future))

    def refresh(self) -> None:
        """Looks at the volume once and loads what is better. Called by one thread at a time."""
        wishes = self._take_wishes()
        try:
            self._catalog = catalog = self._store.scan()
            self._drop_vanished(catalog)
            for run_id in list(self._served):
                run = catalog.run(run_id)
                if run is not None:
                    self._improve(run)
            best = catalog.best
            if best is not None and self._eager != best.exports[0].key:
                self._improve(best)
                if best.id in self._served:
                    self._eager = best.exports[0].key
            for run_id, future in wishes.items():
                self._grant(catalog.run(run_id), future)
            self._evict()
        finally:
            self._disappoint(wishes)

    def _follow(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(self._poll_seconds)
            self._wake.clear()
            try:
                self.refresh()
            except Exception:  # the loop's outer edge: what is loaded goes on answering
                self._metrics.load_failed("unexpected")
                log.exception("could not look for new models")

    def _take_wishes(self) -> dict[str, Future[LoadedModel]]:
        with self._wishes.lock:
            wishes, self._wishes.futures = self._wishes.futures, {}
        return wishes

    def _disappoint(self, wishes: dict[str, Future[LoadedModel]]) -> None:
        for run_id, future in wishes.items():
            if not future.done():
                future.set_exception(UnavailableError("it cannot be loaded now", where=f"run {run_id}"))

    def _drop_vanished(self, catalog: Catalog) -> None:
        for run_id in [run_id for run_id in self._served if catalog.run(run_id) is None]:
            del self._served[run_id]
        present = {export.key for run in catalog.runs for export in run.exports}
        self._failed = {key: failed for key, failed in self._failed.items() if key in present}

    def _improve(self, run: RunExports) -> None:
        """Loads the best export of `run` that works, if it is better than what answers now."""
        served = self._served.get(run.id)
        now = self._clock()
        for export in run.exports:
            if served is not None and export.rank <= served.model.rank:
                return
            failed = self._failed.get(export.key)
            if failed is not None and now < failed.retry:
                continue
            model = self._try(export)
            if model is not None:
                used = served.used if served is not None else next(self._uses)
                self._served[run.id] = _Served(model=model, used=used)
                self._metrics.swapped()
                self._metrics.loaded.set(len(self._served))
                log.info("step %s of %s answers now", *reversed(export.key), extra={"run": run.id})
                return

    def _try(self, export: Export) -> LoadedModel | None:
        try:
            model = self._load(export)
        except NotFoundError:
            return None  # the evaluator keeps a number of exports; the next look will not list it
        except CorruptExportError as error:
            if export.key not in self._failed:
                log.error("%s", error, extra={"run": export.manifest.run, "step": export.manifest.step})
            self._failed[export.key] = _Failed(error=error, retry=self._clock() + RETRY_FAILED_SECONDS)
            self._metrics.load_failed(error.code)
            return None
        self._failed.pop(export.key, None)
        return model

    def _grant(self, run: RunExports | None, future: Future[LoadedModel]) -> None:
        if run is not None and run.id not in self._served:
            self._improve(run)
        served = self._served.get(run.id) if run is not None else None
        if served is not None:
            served.used = next(self._uses)
            future.set_result(served.model)
            return
        failed = self._failed.get(run.exports[0].key) if run is not None and run.exports else None
        reason = str(failed.error) if failed else "it was removed from the volume"
        future.set_exception(
            UnavailableError(f"no export of it can be served: {reason}", where=f"run {run.id}" if run else None)
        )

    def _evict(self) -> None:
        while len(self._served) > self._max_loaded:
            run_id = min(self._served, key=lambda run_id: self._served[run_id].used)
            del self._served[run_id]
        self._metrics.loaded.set(len(self._served))
