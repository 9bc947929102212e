"""Looks at every path of a volume. Only reads; takes no lock; what vanishes meanwhile was removed, not damaged.

What looks wrong is looked at twice where a service at work could have been in the middle of it: a folder without
manifest may just have been removed, a last line without end may still be being written, a lease beats after a while.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from services.cli.fsck.report import Finding, Level, Report
from shared import atomic
from shared.checkpoints import initial_checkpoint
from shared.data.cache import CacheManifest
from shared.data.checksums import CHECKSUMS, Checksums
from shared.errors import CorruptCheckpointError, CorruptRecordError, TandemError, UnknownSchemaError
from shared.layout import ANSWERS, MANIFEST, STEP_NAME, WEIGHTS_KIND, RunFolder, Volume, listed_steps
from shared.records import (
    Aliases,
    Assignment,
    CheckpointManifest,
    Desired,
    EvaluatorStatus,
    Event,
    ExportManifest,
    Fence,
    FileRecord,
    Lease,
    Origin,
    Pins,
    Rollbacks,
    SeriesPoint,
    SlotRecord,
    Tags,
    TrainerStatus,
    Verdict,
    read_record,
)
from shared.spec import RunSpec

R = TypeVar("R", bound=BaseModel)


class Checker:
    """One check of one volume.

    Args:
        volume: What to look at.
        progress: Is told what is being looked at.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
        patience: Seconds without a beat until a lease counts as abandoned; waited for only where there are leases.
    """

    def __init__(
        self,
        *,
        volume: Volume,
        progress: Callable[[str], None],
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        patience: float,
    ) -> None:
        self._volume = volume
        self._progress = progress
        self._clock = clock
        self._sleep = sleep
        self._patience = patience
        self._report = Report()
        self._torn: list[tuple[Path, int]] = []

    def check(self, runs: Sequence[str] = ()) -> Report:
        """Looks at all of the volume, or at some runs alone.

        Raises:
            InputError: A run's id is none.
        """
        began = self._clock()
        folders = [self._volume.run(run) for run in runs] or list(self._folders())
        leases = {lease: beat for folder in folders for lease, beat in self._leases(folder)}
        for folder in folders:
            self._progress(folder.id)
            self._run(folder)
        if not runs:
            self._progress("data sets")
            self._datasets()
            self._places()
        if leases:
            self._sleep(max(0.0, self._patience - (self._clock() - began)))
        for folder in folders:
            self._abandoned(folder, leases)
        for path, size in self._torn:
            if _size(path) == size:
                self._find("note", path, "its last line is torn; readers pass over it, and its writer mends it")
        return self._report

    def _folders(self) -> Iterator[RunFolder]:
        for path in _entries(self._volume.runs):
            if path.name.startswith((atomic.TEMPORARY, atomic.TRASH)):
                self._leftover(path)
            elif path.is_dir():
                yield RunFolder(path)

    def _run(self, folder: RunFolder) -> None:
        if not folder.spec.exists():
            if folder.root.is_dir():
                self._find("note", folder.root, "has no spec.json, so it is no run")
            return
        self._report.checked["runs"] += 1
        self._record(folder.spec, RunSpec)
        for path, kind in (
            (folder.desired, Desired),
            (folder.tags, Tags),
            (folder.pins, Pins),
            (folder.aliases, Aliases),
            (folder.origin, Origin),
            (folder.status, TrainerStatus),
            (folder.fence, Fence),
            (folder.rollbacks, Rollbacks),
        ):
            self._record(path, kind)
        self._lines(folder.series, SeriesPoint)
        for path in (folder.gateway_events, folder.trainer_events, folder.evaluator_events):
            self._lines(path, Event)
        self._lines(folder.trainer_log, None)
        for step in listed_steps(folder.checkpoints):
            self._checkpoint(folder.checkpoint(step), run=folder.id, step=step)
        self._initial(folder)
        for step in listed_steps(folder.exports):
            self._export(folder.export(step), run=folder.id, step=step)
        for step in listed_steps(folder.evaluations):
            for path in _entries(folder.evaluations / str(step)):
                if path.suffix == ".json" and WEIGHTS_KIND.fullmatch(path.stem):
                    self._verdict(path, run=folder.id, step=step)
        for place in (folder.root, folder.trainer, folder.checkpoints, folder.exports, folder.leases):
            self._leftovers(place)
        for step in listed_steps(folder.evaluations):
            self._leftovers(folder.evaluations / str(step))

    def _initial(self, folder: RunFolder) -> None:
        """What a fork begins with: it must be whole, and the checkpoint that `origin.json` names."""
        if folder.initial.exists():
            self._report.checked["checkpoints"] += 1
            if self._committed(folder.initial, CheckpointManifest, thing=None) is None:
                return
        with contextlib.suppress(CorruptRecordError, UnknownSchemaError):  # such a record has been told of
            try:
                initial_checkpoint(folder)
            except CorruptCheckpointError as error:
                self._find("damaged", folder.initial / MANIFEST, error.message)

    def _checkpoint(self, folder: Path, *, run: str, step: int) -> None:
        manifest = self._committed(folder, CheckpointManifest, thing=folder)
        self._report.checked["checkpoints"] += 1
        if manifest is not None and (manifest.run, manifest.step) != (run, step):
            self._find("damaged", folder, f"speaks of step {manifest.step} of run {manifest.run}", thing=folder)

    def _export(self, folder: Path, *, run: str, step: int) -> None:
        manifest = self._committed(folder, ExportManifest, thing=folder)
        self._report.checked["exports"] += 1
        if manifest is not None and (manifest.run, manifest.step) != (run, step):
            self._find("damaged", folder, f"speaks of step {manifest.step} of run {manifest.run}", thing=folder)

    def _verdict(self, path: Path, *, run: str, step: int) -> None:
        verdict = self._record(path, Verdict, thing=path)
        self._report.checked["verdicts"] += 1
        if verdict is not None and (verdict.run, verdict.step) != (run, step):
            self._find("damaged", path, f"speaks of step {verdict.step} of run {verdict.run}", thing=path)
        self._answers(path.with_suffix(ANSWERS), verdict)

    def _answers(self, path: Path, verdict: Verdict | None) -> None:
        """The answers beside a verdict. None is no damage: retention removes them."""
        if verdict is None or verdict.answers is None or not path.exists():
            return
        self._report.checked["answers"] += 1
        files = {path.name: verdict.answers}
        self._files(path.parent, files, thing=path, level="damaged", still=path.exists)

    def _committed(self, folder: Path, kind: type[R], *, thing: Path | None, level: Level = "damaged") -> R | None:
        """The manifest of a committed folder, all of whose files have been checked against it."""
        manifest = self._record(folder / MANIFEST, kind, thing=thing, level=level)
        if manifest is None:
            if folder.is_dir() and not (folder / MANIFEST).exists():
                self._find(level, folder, "has no manifest", thing=thing)
            return None
        files = getattr(manifest, "files", {})
        self._files(folder, files, thing=thing, level=level, still=(folder / MANIFEST).exists)
        return manifest

    def _files(
        self,
        folder: Path,
        files: Mapping[str, FileRecord],
        *,
        thing: Path | None,
        level: Level,
        still: Callable[[], bool],
    ) -> None:
        for name, wanted in files.items():
            path = folder / name
            try:
                size, sha256 = self._digest(path)
            except OSError as error:
                if still():  # if not, the whole was removed meanwhile
                    self._find(level, path, (error.strerror or "cannot be read").lower(), thing=thing)
                continue
            if size != wanted.size:
                self._find(level, path, f"is {size:,} bytes long instead of {wanted.size:,}", thing=thing)
            elif sha256 != wanted.sha256:
                self._find(level, path, "does not match its digest", thing=thing)

    def _digest(self, path: Path) -> tuple[int, str]:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        self._report.checked["bytes"] += size
        return size, sha256

    def _record(self, path: Path, kind: type[R], *, thing: Path | None = None, level: Level = "damaged") -> R | None:
        try:
            record = read_record(path, kind)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._find(level, path, (error.strerror or "cannot be read").lower())
            return None
        except UnknownSchemaError as error:  # whole, and of another release: never moved
            self._find("damaged", path, error.message)
            return None
        except TandemError as error:
            self._find(level, path, error.message, thing=thing)
            return None
        self._report.checked["records"] += 1
        return record

    def _lines(self, path: Path, kind: type[BaseModel] | None) -> None:
        bad = 0
        try:
            with path.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        self._torn.append((path, file.tell()))
                        break
                    self._report.checked["lines"] += 1
                    bad += not _is(line, kind)
        except (FileNotFoundError, NotADirectoryError):
            return
        if bad:
            self._find("note", path, f"{bad:,} lines are no records; readers pass over them")

    def _datasets(self) -> None:
        for folder in _entries(self._volume.datasets):
            if folder == self._volume.dataset_cache:
                continue
            record = self._record(folder / CHECKSUMS, Checksums)
            if record is not None:
                self._report.checked["data sets"] += 1
                self._files(folder, record.files, thing=None, level="damaged", still=(folder / CHECKSUMS).exists)
        for folder in _entries(self._volume.dataset_cache):
            if (folder / MANIFEST).exists():  # made anew by itself when it does not match
                self._committed(folder, CacheManifest, thing=None, level="note")

    def _places(self) -> None:
        for slot in self._volume.slot_folders():
            self._record(slot.record, SlotRecord)
            self._record(slot.assignment, Assignment)
            self._leftovers(slot.root)
        for folder in _entries(self._volume.root / "evaluators"):
            self._record(folder / "status.json", EvaluatorStatus)

    def _leases(self, folder: RunFolder) -> Iterator[tuple[Path, tuple[str, int]]]:
        for path in _entries(folder.leases):
            if path.suffix == ".json" and STEP_NAME.fullmatch(path.stem):
                lease = self._record(path, Lease, level="note")
                if lease is not None:
                    yield path, (lease.token, lease.beat)

    def _abandoned(self, folder: RunFolder, before: Mapping[Path, tuple[str, int]]) -> None:
        for path, beat in self._leases(folder):
            if not folder.checkpoint(int(path.stem)).is_dir():
                self._find("note", path, "is on a checkpoint that is gone; an evaluator clears it up")
            elif before.get(path) == beat:
                self._find("note", path, f"has not beaten for {self._patience:g} s; an evaluator clears it up")

    def _leftovers(self, folder: Path) -> None:
        for path in _entries(folder):
            if path.name.startswith((atomic.TEMPORARY, atomic.TRASH)):
                self._leftover(path)

    def _leftover(self, path: Path) -> None:
        half = "half-made" if path.name.startswith(atomic.TEMPORARY) else "half-removed"
        self._find("note", path, f"is {half}: somebody is at it, or was killed and its successor removes it")

    def _find(self, level: Level, path: Path, problem: str, *, thing: Path | None = None) -> None:
        shown = path.relative_to(self._volume.root).as_posix()
        finding = Finding(level=level, path=shown, problem=problem, thing=thing)
        if finding not in self._report.findings:
            self._report.findings.append(finding)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _is(line: bytes, kind: type[BaseModel] | None) -> bool:
    try:
        if kind is None:
            json.loads(line)
        else:
            kind.model_validate_json(line)
    except (ValidationError, ValueError):
        return False
    return True
