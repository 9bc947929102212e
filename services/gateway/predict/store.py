"""What can be served: the exports on the volume, and what the names of models mean.

Reads `runs/<run>/spec.json` (for the run's name) and `runs/<run>/exports/<step>/manifest.json`; writes nothing. An
export is committed whole and never changes, so a run is read again only when its folder of exports has other entries or
another time of change, when a manifest or specification that could not be used has changed, as while a run is copied
onto the volume, or when its file of aliases is another one. The newest runs, and those that changed of late, are looked
at in each scan; of the others a slice, so that thousands of old runs cost next to nothing. What was never read is read
newest first, for a part of a second in each scan.

The name of a model is, in this order:

1. `best`: the newest run that has an export. Newest is the greatest run id, which begins with the time of its making.
2. a run's id.
3. a run's name: the newest run of that name that has an export.
4. an alias: the newest run that has one of that name.
5. any of these, `@` and a step: that run's export of that step, whether it is the best or not; or `@` and an alias.

Of a run `best` answers. The better export is the one of higher precision at 1 (of the weights it was made of); of
equals, the earlier.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.gateway.index.marks import Stamp, stamp_of
from services.gateway.index.names import RunNames
from services.gateway.predict.aliases import BEST, LATEST
from shared.checkpoints import read_spec
from shared.errors import CorruptRecordError, NotFoundError, TandemError, UnavailableError, VolumeError
from shared.layout import MANIFEST, RunFolder, Volume, listed_steps
from shared.records import Alias, ExportManifest, read_record

NEWEST = 500
ROUND = 60
CHANGED_SECONDS = 3600.0
READING_SECONDS = 0.25
_HINT = "GET /v1/models lists what can be asked"
_ALIASES = "GET /v1/models/{model}/aliases lists them"
_VERSIONS = "GET /v1/models/{model} lists the versions that can be asked"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Export:
    """One committed export. Its files have not been checked yet."""

    folder: Path
    manifest: ExportManifest

    @property
    def key(self) -> tuple[str, int]:
        """The run and the step: unique on a volume."""
        return self.manifest.run, self.manifest.step

    @property
    def rank(self) -> tuple[float, int]:
        """Greater is better: of equally precise ones the earlier, since nothing is gained by a change."""
        return self.manifest.precision_at_1, -self.manifest.step


@dataclass(frozen=True)
class RunExports:
    """The exports of one run, best first, and what its names point at.

    Attributes:
        id: The run's id.
        name: The run's name.
        exports: Best first.
        significant: Whether `best` moves only to what is significantly better.
        aliases: What each alias points at.
        alias: The one that the name asked for stands for.
        step: The step that it stands for instead, where it names one.
        read: Whether its folder has been looked at yet.
    """

    id: str
    name: str | None
    exports: tuple[Export, ...] = ()
    significant: bool = False
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    alias: str = BEST
    step: int | None = None
    read: bool = True

    def export(self, step: int) -> Export:
        """The export of one step.

        Raises:
            NotFoundError: There is none.
        """
        for export in self.exports:
            if export.manifest.step == step:
                return export
        raise NotFoundError(f"there is no export of step {step}", where=f"run {self.id}", hint=_VERSIONS)

    def current(self) -> Export:
        """The export that answers under the name asked for; the best one where that is gone from the volume."""
        try:
            return self.export(self.aimed())
        except NotFoundError:
            return self.exports[0]

    def labelled(self, label: str) -> Export:
        """The export that an alias points at.

        Raises:
            NotFoundError: There is no such alias, or its export is gone.
        """
        return self.export(self.aimed(label))

    def aimed(self, label: str | None = None, *, turn: float = 1.0) -> int:
        """The step whose export is to answer one request.

        Args:
            label: The alias that is asked; None: what the name stands for.
            turn: From 0 to 1. Below the share of a canary, that answers.

        Raises:
            NotFoundError: There is no such alias.
        """
        if label is None and self.step is not None:
            return self.step
        alias = self.alias if label is None else label
        found = self.aliases.get(alias)
        if found is not None:
            return found.canary.step if found.canary is not None and turn < found.canary.share else found.step
        if alias == BEST and self.exports:
            return self.exports[0].manifest.step
        if alias == LATEST and self.exports:
            return max(export.manifest.step for export in self.exports)
        raise NotFoundError(f"there is no alias {alias[:80]!r}", where=f"run {self.id}", hint=_ALIASES)


class Catalog:
    """All runs and their exports at one moment; never changes.

    Args:
        runs: Newest first.
    """

    def __init__(self, runs: tuple[RunExports, ...] = ()) -> None:
        self.runs = runs
        self._by_name: dict[str, RunExports] = {}
        for run in sorted(runs, key=lambda run: not run.exports):  # stable: newest with exports, then newest without
            if run.name is not None:
                self._by_name.setdefault(run.name, run)
        self._by_name |= {run.id: run for run in runs}
        for run in runs:
            for alias in run.aliases:
                self._by_name.setdefault(alias, replace(run, alias=alias))
        self._by_name.pop(BEST, None)
        self.best = next((run for run in runs if run.exports), None)
        if self.best is not None:
            self._by_name[BEST] = self.best

    def run(self, run_id: str) -> RunExports | None:
        """The run of this id."""
        found = self._by_name.get(run_id)
        return found if found is not None and found.id == run_id else None

    def resolve(self, model: str) -> RunExports:
        """The run that `model` means; it has an export.

        Raises:
            NotFoundError: There is no such run.
            UnavailableError: None of its checkpoints was judged and exported yet.
        """
        found = self._find(model)
        if found is not None and found.exports:
            return found
        if model == BEST:
            raise UnavailableError("no checkpoint has been judged yet", where="model best", hint=_WAIT)
        if found is None:
            shown = model if len(model) <= 80 else f"{model[:80]}…"
            name, at, which = model.rpartition("@")
            if at and (run := self._by_name.get(name)) is not None:
                message = f"there is neither an export of step {which[:80]!r} nor an alias of that name"
                raise NotFoundError(message, where=f"run {run.id}", hint=_VERSIONS)
            raise NotFoundError("there is no run of that id or name, nor an alias", where=shown, hint=_HINT)
        raise UnavailableError("none of its checkpoints has been judged yet", where=f"run {found.id}", hint=_WAIT)

    def _find(self, model: str) -> RunExports | None:
        name, at, which = model.rpartition("@")
        found = self._by_name.get(name if at else model)
        if found is None or not at:
            return found
        if which in found.aliases or which in (BEST, LATEST):
            return replace(found, alias=which)
        exports = tuple(each for each in found.exports if str(each.manifest.step) == which)
        return replace(found, exports=exports, step=exports[0].manifest.step) if exports else None


_WAIT = "Ask again once the evaluator has judged a checkpoint"


@dataclass(frozen=True)
class _Seen:
    """A run as it was read, and the stamps of what would make it another one; `spoilt` are files that were unusable."""

    run: RunExports
    marks: tuple[Stamp, Stamp]
    spoilt: Mapping[Path, Stamp]

    def stands(self, marks: tuple[Stamp, Stamp]) -> bool:
        """Whether nothing has changed since."""
        return self.marks == marks and all(stamp_of(path) == stamp for path, stamp in self.spoilt.items())


class ExportStore:
    """Finds exports. One thread scans.

    Args:
        volume: The volume.
        on_problem: Called with each error that makes an export or a name unusable, once for each time it is seen anew.
        clock: Monotonic seconds.
        newest: How many of the newest runs are looked at in each scan.
    """

    def __init__(
        self,
        volume: Volume,
        *,
        on_problem: Callable[[TandemError], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        newest: int = NEWEST,
    ) -> None:
        self._volume = volume
        self._on_problem = on_problem
        self._clock = clock
        self._newest = newest
        self._names = RunNames(volume=volume, clock=clock)
        self._seen: dict[str, _Seen] = {}
        self._unread: list[str] = []
        self._changed: dict[str, float] = {}
        self._round: list[str] = []
        self._catalog = Catalog()

    def scan(self) -> Catalog:
        """Everything that is on the volume, as far as it has been read."""
        changed = False
        if self._names.look():
            there = set(self._names.ids)
            changed = not there >= self._seen.keys()
            self._seen = {run_id: seen for run_id, seen in self._seen.items() if run_id in there}
            self._unread = [run_id for run_id in self._names.ids if run_id not in self._seen]
        for run_id in self._due():
            changed |= run_id in self._seen and self._look(self._volume.run(run_id))
        end = self._clock() + READING_SECONDS
        while self._unread:
            changed |= self._look(self._volume.run(self._unread.pop()))
            if self._clock() >= end:
                break
        if changed:
            unread = {run_id: RunExports(id=run_id, name=None, read=False) for run_id in self._unread}
            runs = (self._seen[each].run if each in self._seen else unread[each] for each in reversed(self._names.ids))
            self._catalog = Catalog(tuple(runs))
        return self._catalog

    @property
    def changed(self) -> frozenset[str]:
        """The runs whose exports have changed of late, since they were first read."""
        return frozenset(self._changed)

    def _due(self) -> set[str]:
        """Which runs are to be looked at now."""
        now = self._clock()
        self._changed = {run_id: at for run_id, at in self._changed.items() if now - at < CHANGED_SECONDS}
        self._round = self._round or list(self._seen)
        cut = len(self._round) - math.ceil(len(self._seen) / ROUND)
        self._round, part = self._round[:cut], self._round[cut:]
        return {*self._names.ids[-self._newest :], *self._changed, *part}

    def _look(self, folder: RunFolder) -> bool:
        """Looks at the exports of a run. Returns whether they, or its aliases, may be others than before."""
        marks = stamp_of(folder.exports), stamp_of(folder.aliases)
        seen = self._seen.get(folder.id)
        if seen is not None and seen.stands(marks):
            return False
        exports, spoilt = [], {folder.spec: stamp_of(folder.spec)}
        for step in listed_steps(folder.exports):
            path = folder.export(step) / MANIFEST
            stamp = stamp_of(path)
            if (export := self._export(folder, step, path)) is not None:
                exports.append(export)
            else:
                spoilt[path] = stamp
        exports.sort(key=lambda export: export.rank, reverse=True)
        if seen is not None:
            self._changed[folder.id] = self._clock()
        known = None if seen is None or seen.run.name is None else seen.run
        run = replace(known or self._named(folder), exports=tuple(exports))
        if run.name is not None:
            del spoilt[folder.spec]  # it never changes
        self._seen[folder.id] = _Seen(run=run, marks=marks, spoilt=spoilt)
        return True

    def _named(self, folder: RunFolder) -> RunExports:
        try:
            spec = read_spec(folder)
        except (NotFoundError, VolumeError, OSError) as error:
            self._problem(error, folder.spec)
            return RunExports(id=folder.id, name=None)
        return RunExports(id=folder.id, name=spec.name, significant=spec.promotion == "significant")

    def _export(self, folder: RunFolder, step: int, path: Path) -> Export | None:
        try:
            manifest = read_record(path, ExportManifest)
            if (manifest.run, manifest.step) != (folder.id, step):
                raise CorruptRecordError(f"speaks of step {manifest.step} of run {manifest.run}", where=str(path))
            if not math.isfinite(manifest.precision_at_1):
                raise CorruptRecordError("has a precision that is no number", where=str(path))
        except (VolumeError, OSError) as error:
            self._problem(error, path)
            return None
        return Export(folder=folder.export(step), manifest=manifest)

    def _problem(self, error: TandemError | OSError, path: Path) -> None:
        if isinstance(error, OSError):
            error = CorruptRecordError(f"cannot be read: {error.strerror}", where=str(path))
        log.error("%s", error)
        self._on_problem(error)
