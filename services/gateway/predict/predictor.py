"""Which model answers: follows the volume, loads what aliases point at, and swaps it in whole.

One thread does all looking, loading and moving of aliases. What answers for a run is replaced only by an export that is
better, whose files match their digests, and that has answered a warm-up; until then, and whenever that fails, the old
one goes on. Whoever has been given a model keeps it to the end of the request; its memory goes with the last of them.

At most `max_loaded` models stay in memory, and one more while it is being warmed up to take over. Beyond that the one
not asked for longest goes, and is loaded again when it is asked for. What `best` of the newest run points at is loaded
without being asked.
"""

import hashlib
import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from services.gateway.arrival import arriving
from services.gateway.predict.aliases import BEST, AliasBook, Tell
from services.gateway.predict.inbox import Inbox, Order, Result
from services.gateway.predict.metrics import PredictMetrics
from services.gateway.predict.model_cache import Key, ModelCache
from services.gateway.predict.models import LoadedModel
from services.gateway.predict.promotion import Promotion
from services.gateway.predict.store import Catalog, Export, ExportStore, RunExports
from shared.errors import NotFoundError, TandemError, UnavailableError
from shared.layout import Volume

# Steps of this share of the circle spread evenly, however many of them are made.
_GOLDEN = 0.6180339887498949

log = logging.getLogger(__name__)


class Predictor:
    """Gives out models by name.

    Args:
        volume: Where aliases are written, and verdicts read.
        store: What is on the volume.
        load: Makes a model of an export, warmed up; raises CorruptExportError, or NotFoundError if it is gone.
        metrics: Where swaps and failures are counted.
        clock: Monotonic seconds.
        wall: Seconds since the epoch.
        tell: Writes an event of a run.
        max_loaded: The most models in memory.
        poll_seconds: Between two looks at the volume.
    """

    def __init__(
        self,
        *,
        volume: Volume,
        store: ExportStore,
        load: Callable[[Export], LoadedModel],
        metrics: PredictMetrics,
        clock: Callable[[], float],
        wall: Callable[[], float],
        tell: Tell,
        max_loaded: int = 4,
        poll_seconds: float = 0.5,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._book = AliasBook(volume=volume, clock=wall, tell=tell, metrics=metrics)
        self._cache = ModelCache(load=load, metrics=metrics, clock=clock, most=max_loaded)
        self._promotion = Promotion(
            book=self._book,
            volume=volume,
            prove=lambda export, keep: self._cache.prove(export, keep=keep),
            failure=lambda export: self._cache.failure(export.key),
            in_memory=lambda run, step: (run, step) in self._cache,
            has_answered=lambda run, step: self._cache.has_answered((run, step)),
            arriving=lambda folder: arriving(folder, now=wall()),
        )
        self._catalog = Catalog()
        self._scanned: Catalog | None = None
        self._published = -1
        self._checked: set[str] = set()
        self._tended: dict[str, tuple[Export, ...]] = {}
        self._turns = itertools.count()
        self._eager: Key | None = None
        self._wake = threading.Event()
        self._inbox = Inbox(wake=self._wake.set)
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
        self._inbox.take().disappoint()

    def why_not_ready(self) -> str | None:
        """Why `best` cannot be answered now, or None if it can."""
        try:
            run = self._catalog.resolve(BEST)
        except TandemError as error:
            return error.message
        if self.answering(run) is not None:
            return None
        # Loaded before and put out since: it comes back with the next request. Or in the place of one that cannot be.
        if self._eager is not None and self._eager[0] == run.id:
            return None
        failure = self._cache.failure(run.exports[0].key)
        return "the best model is being loaded" if failure is None else str(failure)

    def catalog(self) -> Catalog:
        """What is on the volume, as last seen."""
        return self._catalog

    def answering(self, run: RunExports, label: str | None = None) -> LoadedModel | None:
        """What answers for a run under the name that it was asked by, if it is in memory. Does not count as a use."""
        return self.version(run.id, run.aimed(label))

    def loaded(self, run: str) -> LoadedModel | None:
        """The model that answers for this run, if it is in memory. Does not count as a use."""
        found = self._catalog.run(run)
        return None if found is None or not (found.exports or found.aliases) else self.answering(found)

    def failure(self, export: Export) -> TandemError | None:
        """Why this export cannot be served, if it was tried."""
        return self._cache.failure(export.key)

    def version(self, run: str, step: int) -> LoadedModel | None:
        """The model of this very export, if it is in memory. Does not count as a use."""
        return self._cache.look((run, step))

    async def model(
        self, name: str, *, step: int | None = None, label: str | None = None, token: str = ""
    ) -> LoadedModel:
        """The model that `name` means now, loaded if need be.

        Args:
            name: A run's id or name, or an alias; with `@` an alias or a step of it.
            step: Of one export of the run; None: the one that answers for it.
            label: An alias of the run; None likewise.
            token: Names the request: equal ones get the same answer from a canary. Without one a share of the requests
                does, evenly spread.

        Raises:
            NotFoundError: There is no such run, alias, or export of that step.
            UnavailableError: Nothing of it can be served yet; says why.
        """
        run = self._catalog.resolve(name)
        if step is not None:
            alias: str | None = None
            run.export(step)
        else:
            alias = run.alias if label is None else label
            alias = None if label is None and run.step is not None else alias
            step = run.aimed(label, turn=self._turn(token) if run.aliases else 1.0)
        model = self._cache.use((run.id, step), asked=alias is None)
        return await self._inbox.model((run.id, alias, step)) if model is None else model

    async def change(self, order: Order[Result]) -> Result:
        """Has the thread do something about aliases; returns or raises what that does."""
        return await self._inbox.change(order)

    def refresh(self) -> None:
        """Looks at the volume once, moves aliases and loads what is better. Called by one thread at a time."""
        post = self._inbox.take()
        try:
            self._look()
            for order, done in post.orders:
                self._carry_out(order, done)
            for (run_id, alias, step), wished in post.wishes.items():
                self._grant(self._catalog.run(run_id), alias, step, wished)
                self._evict()  # each time, or as many models would be in memory as are wished for at once
            self._evict()
            self._publish()
        finally:
            post.disappoint()

    def _follow(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(self._poll_seconds)
            self._wake.clear()
            try:
                self.refresh()
            except Exception:  # the loop's outer edge: what is loaded goes on answering
                self._metrics.load_failed("unexpected")
                log.exception("could not look for new models")

    def _look(self) -> None:
        scanned = self._store.scan()
        if scanned is not self._scanned:
            self._take_over(scanned)
        eager = self._catalog.best
        due = self._cache.runs() | self._promotion.waiting
        due |= {run for run in self._store.changed if self._is_new(run)}
        for run_id in due if eager is None else {*due, eager.id}:
            run = self._catalog.run(run_id)
            if run is not None and (run.exports or self._book.of(run_id)):
                self._tend(run)
        if eager is not None:
            self._load_eagerly(eager)
        self._publish()

    def _take_over(self, scanned: Catalog) -> None:
        self._scanned = self._catalog = scanned
        self._book.keep(run.id for run in scanned.runs)
        self._promotion.keep({run.id for run in scanned.runs})
        self._cache.follow(scanned)
        self._tended = {run: exports for run, exports in self._tended.items() if scanned.run(run) is not None}
        self._checked &= {run.id for run in scanned.runs}
        for run in scanned.runs:
            if run.read and run.id not in self._checked:
                self._checked.add(run.id)
                # Without loading anything: there may be thousands.
                if run.exports or self._book.has(run.id):
                    self._promotion.check(run)
        self._published = -1
        self._publish()

    def _is_new(self, run_id: str) -> bool:
        run = self._catalog.run(run_id)
        return run is not None and self._tended.get(run_id) is not run.exports

    def _publish(self) -> None:
        """Shows the aliases as they are now to those who ask."""
        if self._published == self._book.changes:
            return
        now = [(run, self._book.of(run.id) if run.exports else {}) for run in self._catalog.runs]
        if any(run.aliases != aliases for run, aliases in now):
            runs = (run if run.aliases == aliases else replace(run, aliases=aliases) for run, aliases in now)
            self._catalog = Catalog(tuple(runs))
        self._published = self._book.changes

    def _tend(self, run: RunExports) -> None:
        self._tended[run.id] = run.exports
        before = self._target(run)
        self._promotion.tend(run)
        self._publish()  # before the old one goes, so that hardly anybody asks for it in vain
        after = self._target(run)
        if after == before or after is None:
            return
        self._metrics.swapped()
        log.info("step %d of %s answers now", after, run.id, extra={"run": run.id})
        if before is not None:
            stays = before in {each.step for each in self._book.of(run.id).values()}
            self._cache.succeed((run.id, before), (run.id, after), stays=stays)

    def _target(self, run: RunExports) -> int | None:
        entry = self._book.of(run.id).get(BEST)
        return None if entry is None else entry.step

    def _load_eagerly(self, run: RunExports) -> None:
        target = self._target(run)
        if self._eager == (run.id, target):
            return
        model, _ = self._obtain(run, BEST, run.aimed() if target is None else target)
        if model is not None:
            self._cache.use(model.key)
            self._eager = model.key

    def _obtain(self, run: RunExports, alias: str | None, step: int) -> tuple[LoadedModel | None, str]:
        """What is to answer, in memory, or why nothing can. An alias that points at what cannot is moved."""
        reason = "it was removed from the volume"
        for _ in range(len(run.exports) + 2):
            model = self._cache.look((run.id, step))
            if model is not None:
                return model, ""
            try:
                export = run.export(step)
            except NotFoundError as error:
                reason = error.message
            else:
                if self._cache.prove(export, keep=True):
                    continue
                reason = str(self._cache.failure(export.key) or reason)
            if alias is None or not self._promotion.mend(run, alias, step, reason):
                break
            step = self._book.of(run.id)[alias].step
        if alias == BEST:
            # Nothing could be written down, or nothing works at all.
            proven = (each.key for each in run.exports if self._cache.prove(each, keep=True))
            return next((self._cache.look(key) for key in proven), None), reason
        return None, reason

    def _grant(self, run: RunExports | None, alias: str | None, step: int, future: Future[LoadedModel]) -> None:
        model, reason = None, "it was removed from the volume"
        if run is not None and (run.exports or run.aliases):
            if alias is not None and alias not in self._book.of(run.id):
                self._tend(run)
            entry = self._book.of(run.id).get(alias) if alias is not None else None
            if entry is not None and (entry.canary is None or entry.canary.step != step):
                step = entry.step  # it may have moved since it was asked for
            model, reason = self._obtain(run, alias, step)
        if model is not None:
            self._cache.use(model.key, asked=alias is None)
            future.set_result(model)
            return
        where = None if run is None else f"run {run.id}" if alias is not None else f"step {step} of run {run.id}"
        future.set_exception(UnavailableError(f"no export of it can be served: {reason}", where=where))

    def _carry_out(self, order: Order[Any], future: Future[Any]) -> None:
        try:
            result = order(self._promotion, self._catalog)
        except TandemError as error:
            future.set_exception(error)
        except OSError as error:
            future.set_exception(UnavailableError(f"aliases cannot be written: {error.strerror}"))
        else:
            self._publish()
            future.set_result(result)

    def _turn(self, token: str) -> float:
        """A number from 0 to 1 that decides whether a canary answers."""
        if token:
            digest = hashlib.blake2b(token.encode(), digest_size=8).digest()
            return int.from_bytes(digest) / 2**64
        return next(self._turns) * _GOLDEN % 1.0

    def _evict(self) -> None:
        for run_id, step in self._cache.evict():
            run = self._catalog.run(run_id)
            if run is not None and all(export.manifest.step != step for export in run.exports):
                self._promotion.check(run)  # it was in memory alone, and an alias may have pointed at it
