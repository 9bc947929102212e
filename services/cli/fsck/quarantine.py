"""Moves what is damaged to `runs/<run>/quarantine/`, for people to look at; nothing is ever deleted.

A checkpoint goes to `<step>`, as the trainer itself would move it, an export to `export-<step>`, a verdict to
`evaluation-<step>-<kind>.json`, its answers to `evaluation-<step>-<kind>.answers`. The run's trainer lock is held
meanwhile, so none begins to work on it in between.
"""

from pathlib import Path

from services.cli.fsck.report import Report
from shared import atomic
from shared.checkpoints import CheckpointStore
from shared.layout import RunFolder, Volume
from shared.locks import without_trainer


def quarantine(report: Report, volume: Volume) -> list[str]:
    """Moves what can go.

    Args:
        report: Of a check; what is moved is noted in it.
        volume: The volume that was checked.

    Returns:
        A line for each thing that could not be moved now.
    """
    kept, moved = [], dict[Path, str]()
    for finding in report.damaged:
        thing = finding.thing
        if thing is None:
            continue
        if thing not in moved:
            folder = RunFolder(volume.runs / thing.relative_to(volume.runs).parts[0])
            atomic.make_folder(folder.trainer)
            with without_trainer(folder) as alone:
                if not alone:
                    kept.append(
                        f"{finding.path}: stays, since a trainer works on {folder.id}; pause or stop that first"
                    )
                    continue
                target = _move(folder, thing)
            moved[thing] = target.relative_to(volume.root).as_posix()
        report.moved(finding, moved[thing])
    return kept


def _move(folder: RunFolder, thing: Path) -> Path:
    if thing.parent == folder.checkpoints:
        return CheckpointStore(folder).quarantine(int(thing.name))
    parts = thing.relative_to(folder.root).parts
    target = _free(folder.quarantine / "-".join((parts[0].removesuffix("s"), *parts[1:])))
    atomic.move_folder(thing, target)
    return target


def _free(target: Path) -> Path:
    number, found = 1, target
    while found.exists():
        found = target.with_name(f"{target.stem}.{number}{target.suffix}")
        number += 1
    return found
