"""Which exports of a run are kept, and the removal of the others.

Kept are the newest, the best, and what aliases need: where they point, what they try, and where they would roll back
to. Files: reads `aliases.json` and `exports/<step>/manifest.json`, removes `exports/<step>/` in two phases.
"""

from collections.abc import Sequence

from shared import atomic
from shared.errors import VolumeError
from shared.layout import MANIFEST, RunFolder, listed_steps
from shared.records import Aliases, ExportManifest, read_record_or_none


def prune(folder: RunFolder, *, keep: int) -> None:
    """Removes the exports that are not kept.

    Args:
        folder: The run; its `exports/.lock` is held, under which aliases move too.
        keep: At least 1.

    Raises:
        OSError: One could not be removed.
    """
    for step in dispensable(_precisions(folder), keep=keep, held=_held(folder)):
        atomic.remove_folder(folder.export(step))


def dispensable(
    precisions: Sequence[tuple[int, float]], *, keep: int, held: frozenset[int] | None = frozenset()
) -> list[int]:
    """Which exports retention gives up: all but the newest `keep` and the best, of equals the oldest and the newest.

    Args:
        precisions: Step and precision at 1 of each export.
        keep: At least 1.
        held: Steps that aliases need; None: that is not known, so none is given up.
    """
    if held is None:
        return []
    steps = sorted(step for step, _ in precisions)
    best = max((precision for _, precision in precisions), default=0.0)
    equals = sorted(step for step, precision in precisions if precision == best)
    kept = {*held, *steps[-keep:], *equals[:1], *equals[-1:]}
    return [step for step in steps if step not in kept]


def _held(folder: RunFolder) -> frozenset[int] | None:
    try:
        aliases = read_record_or_none(folder.aliases, Aliases)
    except VolumeError:
        return None
    return frozenset() if aliases is None else aliases.steps


def _precisions(folder: RunFolder) -> list[tuple[int, float]]:
    found = []
    for step in listed_steps(folder.exports):
        try:
            manifest = read_record_or_none(folder.export(step) / MANIFEST, ExportManifest)
        except VolumeError:
            continue  # not understood, so not ours to remove
        if manifest is not None:
            found.append((step, manifest.precision_at_1))
    return found
