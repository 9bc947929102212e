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

Wish = tuple[str, int | None]
"""A run's id and the step asked for; None: whatever answers for the run."""

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
    """What requests wait for."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    futures: dict[Wish, Future[LoadedModel]] = field(default_factory=dict)


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
        self._versions: dict[tuple[str, int], _Served] = {}
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

    def failure(self, export: Export) -> TandemError | None:
        """Why this export cannot be served, if it was tried."""
        failed = self._failed.get(export.key)
        return failed.error if failed else None

    def version(self, run: str, step: int) -> LoadedModel | None:
        """The model of this very export, if it is in memory. Does not count as a use."""
        served = self._holding((run, step))
        return served.model if served else None

    async def model(self, name: str, *, step: int | None = None) -> LoadedModel:
        """The model that `name` means now, loaded if need be.

        Args:
            name: A run's id or name, or `best`.
            step: Of one export of the run; None: the one that answers for it.

        Raises:
            NotFoundError: There is no such run, or no export of that step.
            UnavailableError: Nothing of it can be served yet; says why.
        """
        run = self._catalog.resolve(name)
        if step is not None:
            run.export(step)
        served = self._served.get(run.id) if step is None else self._holding((run.id, step))
        if served is not None:
            served.used = next(self._uses)
            return served.model
        with self._wishes.lock:
            future = self._wishes.futures.setdefault((run.id, step), Future())
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
            for (run_id, step), future in wishes.items():
                self._grant(catalog.run(run_id), step, future)
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

    def _holding(self, key: tuple[str, int]) -> _Served | None:
        served = self._served.get(key[0])
        return served if served is not None and served.model.key == key else self._versions.get(key)

    def _take_wishes(self) -> dict[Wish, Future[LoadedModel]]:
        with self._wishes.lock:
            wishes, self._wishes.futures = self._wishes.futures, {}
        return wishes

    def _disappoint(self, wishes: dict[Wish, Future[LoadedModel]]) -> None:
        for (run_id, _), future in wishes.items():
            if not future.done():
                future.set_exception(UnavailableError("it cannot be loaded now", where=f"run {run_id}"))

    def _drop_vanished(self, catalog: Catalog) -> None:
        for run_id in [run_id for run_id in self._served if catalog.run(run_id) is None]:
            del self._served[run_id]
        for key in [key for key in self._versions if catalog.run(key[0]) is None]:
            del self._versions[key]
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
            held = self._versions.pop(export.key, None)
            model = held.model if held is not None else self._try(export)
            if model is not None:
                used = served.used if served is not None else next(self._uses)
                self._served[run.id] = _Served(model=model, used=used)
                self._metrics.swapped()
                self._metrics.loaded.set(self._count())
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

    def _grant(self, run: RunExports | None, step: int | None, future: Future[LoadedModel]) -> None:
        served, reason = None, "it was removed from the volume"
        if run is not None and run.exports:
            if step is not None:
                served, reason = self._load_version(run, step)
            else:
                if run.id not in self._served:
                    self._improve(run)
                served, reason = self._served.get(run.id), self._why_failed(run.exports[0])
        if served is not None:
            served.used = next(self._uses)
            future.set_result(served.model)
            return
        where = None if run is None else f"run {run.id}" if step is None else f"step {step} of run {run.id}"
        future.set_exception(UnavailableError(f"no export of it can be served: {reason}", where=where))

    def _load_version(self, run: RunExports, step: int) -> tuple[_Served | None, str]:
        served = self._holding((run.id, step))
        if served is not None:
            return served, ""
        try:
            export = run.export(step)
        except NotFoundError as error:
            return None, error.message
        failed = self._failed.get(export.key)
        model = self._try(export) if failed is None or self._clock() >= failed.retry else None
        if model is None:
            return None, self._why_failed(export)
        served = self._versions[export.key] = _Served(model=model, used=next(self._uses))
        return served, ""

    def _why_failed(self, export: Export) -> str:
        failed = self._failed.get(export.key)
        return str(failed.error) if failed else "it was removed from the volume"

    def _count(self) -> int:
        return len(self._served) + len(self._versions)

    def _evict(self) -> None:
        """Puts out what was not used for longest. Of equal age the answer for a run stays."""
        while self._count() > self._max_loaded:
            oldest_run = min(self._served, key=lambda run: self._served[run].used, default=None)
            oldest_version = min(self._versions, key=lambda key: self._versions[key].used, default=None)
            if oldest_version is not None and (
                oldest_run is None or self._versions[oldest_version].used < self._served[oldest_run].used
            ):
                del self._versions[oldest_version]
            elif oldest_run is not None:
                del self._served[oldest_run]
        self._metrics.loaded.set(self._count())
