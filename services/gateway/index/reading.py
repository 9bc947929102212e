"""Reads runs from the volume, and of a run that was read before only the files that have changed since."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from services.gateway.index.marks import Stamp, stamp_of
from services.gateway.index.run import NO_TAGS, Run, created
from shared.checkpoints import read_spec
from shared.errors import TandemError
from shared.layout import WEIGHTS_KIND, RunFolder, listed_steps
from shared.records import (
    Desired,
    Origin,
    SeriesPoint,
    Tags,
    TrainerStatus,
    Verdict,
    newest_line,
    read_record,
    read_record_or_none,
)
from shared.spec import Part, RunSpec

TAIL_BYTES = 4096
FIGURES = set(Verdict.model_fields)


@dataclass
class Entry:
    """A run, or why it cannot be read, and the stamps of the files that this was read from."""

    run: Run | None = None
    problem: TandemError | None = None
    stamps: dict[str, Stamp] = field(default_factory=dict)
    steps: dict[int, tuple[Stamp, tuple[Verdict, ...]]] = field(default_factory=dict)


class RunReader:
    """Reads runs. What many of them have in common is held once."""

    def __init__(self) -> None:
        self._common: dict[Any, Any] = {}

    def look(self, folder: RunFolder, entry: Entry) -> Entry:
        """Reads again what has changed of a run since its entry was made. Returns the entry, which holds it now."""
        try:
            entry.run = self._run(folder, entry)
            entry.problem = None
        except TandemError as error:
            entry.stamps.clear()
            entry.run, entry.problem = None, error
        return entry

    def _run(self, folder: RunFolder, entry: Entry) -> Run:
        run = entry.run or Run(
            folder=folder,
            spec=self._shared(read_spec(folder)),
            created=created(folder),
            origin=read_record_or_none(folder.origin, Origin),
        )
        if _changed(entry, folder.tags):
            run = replace(run, tags=read_record_or_none(folder.tags, Tags) or NO_TAGS)
        if _changed(entry, folder.desired):
            run = replace(run, desired=read_record_or_none(folder.desired, Desired))
        if _changed(entry, folder.status):
            run = replace(run, status=read_record_or_none(folder.status, TrainerStatus))
        if _changed(entry, folder.series):
            run = replace(run, last_point=newest_line(folder.series, SeriesPoint, within=TAIL_BYTES))
        if _changed(entry, folder.checkpoints):
            run = replace(run, checkpoint_step=max(listed_steps(folder.checkpoints), default=None))
        verdicts = tuple(self._verdicts(folder, entry))
        return run if verdicts == run.verdicts else replace(run, verdicts=verdicts)

    def _shared(self, spec: RunSpec) -> RunSpec:
        """The spec, with those parts that are equal to another run's held once."""
        parts: dict[str, Part] = {}
        for name, part in spec:
            if isinstance(part, Part):
                with contextlib.suppress(TypeError):  # one with a mapping in it has no hash
                    parts[name] = self._common.setdefault((type(part), part), part)
        return spec.model_copy(update=parts)

    def _verdicts(self, folder: RunFolder, entry: Entry) -> Iterator[Verdict]:
        if _changed(entry, folder.evaluations):
            known = entry.steps
            entry.steps = {step: known.get(step, (None, ())) for step in listed_steps(folder.evaluations)}
        for step, (stamp, verdicts) in entry.steps.items():
            path = folder.evaluations / str(step)
            now = stamp_of(path)
            if now != stamp:
                entry.steps[step] = (now, tuple(_judged(path)))
            yield from entry.steps[step][1] if now != stamp else verdicts


def _changed(entry: Entry, path: Path) -> bool:
    now = stamp_of(path)
    if path.name in entry.stamps and entry.stamps[path.name] == now:
        return False
    entry.stamps[path.name] = now
    return True


def _judged(folder: Path) -> Iterator[Verdict]:
    for path in sorted(folder.glob("*.json")):
        if WEIGHTS_KIND.fullmatch(path.stem):
            yield _shortened(read_record(path, Verdict))


def _shortened(verdict: Verdict) -> Verdict:
    """A verdict without its long parts, since they are held in the thousands, with one set of field names for all."""
    calibration, drift = verdict.calibration, verdict.drift
    changes = {
        "confusion": (),
        "classes": (),
        "calibration": None if calibration is None else calibration.model_copy(update={"bins": ()}),
        "drift": None if drift is None else drift.model_copy(update={"variables": {}}),
    }
    return Verdict.model_construct(FIGURES, **{**verdict.__dict__, **changes})
