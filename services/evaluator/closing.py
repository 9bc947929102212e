"""What a run that is over leaves behind: its trainers have looked for the last time, and something was kept since.

A checkpoint that was being read at the last commit, or whose reader had just died, is removed by an evaluator that has
nothing else to do, by the trainer's own rule and under the lock of the run's trainer. So is what a killed trainer, or a
killed evaluator in the middle of this, left half-made or half-removed in `checkpoints/`.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from services.evaluator.events import EventLog
from services.evaluator.ledger import FINAL_PHASES
from shared.checkpoints import CheckpointStore, read_spec
from shared.errors import VolumeError
from shared.layout import RunFolder
from shared.leases import LeaseWatch
from shared.locks import without_trainer
from shared.records import Desired, TrainerStatus, Verdict, read_record_or_none
from shared.retention import Pruner
from shared.spec import RunSpec
from shared.steps import total_steps

_LOG = logging.getLogger(__name__)

# Runs that are known to need nothing until they change; beyond so many all are looked at once more.
_REMEMBERED = 100_000


class Closing:
    """Removes what no rule keeps of runs that are over. A run is looked at again only when it has changed.

    Args:
        leases: Tells which checkpoints are being read.
        events: Told of each one that is removed.
    """

    def __init__(self, *, leases: LeaseWatch, events: EventLog) -> None:
        self._leases = leases
        self._events = events
        self._looked: dict[str, tuple[int, ...]] = {}

    def close(self, folder: RunFolder, *, nothing_due: Callable[[], bool]) -> None:
        """Removes what may go of one run, on which there is no lease; nothing unless it is over and no trainer there.

        Nothing is removed either while the newest checkpoint has no figures: an older one may be wanted more.

        Args:
            folder: The run.
            nothing_due: Asked whether everything of it that is to be judged is.
        """
        marks = _marks(folder)
        if self._looked.get(folder.id) == marks or not nothing_due():
            return
        try:
            done = self._close(folder)
        except (OSError, VolumeError) as error:
            _LOG.warning("%s: what it leaves stays: %s", folder.id, error, extra={"run": folder.id})
            done = True
        if done:
            if len(self._looked) >= _REMEMBERED:
                self._looked.clear()
            self._looked[folder.id] = marks

    def _close(self, folder: RunFolder) -> bool:
        """Returns whether nothing is left to do until something of the run changes."""
        spec, store = read_spec(folder), CheckpointStore(folder)
        desired = read_record_or_none(folder.desired, Desired)
        status = read_record_or_none(folder.status, TrainerStatus)
        steps = total_steps(spec, desired)
        if not _over(desired, status, all_made=max(store.steps(), default=0) >= steps):
            return True
        with without_trainer(folder) as alone:
            if not alone:
                return False
            store.sweep()
            newest = max(store.steps(), default=None)
            if newest is not None and _has_figures(folder, newest, spec):
                Pruner(
                    folder=folder,
                    store=store,
                    spec=spec,
                    final=lambda: steps,
                    leases=self._leases,
                    on_remove=lambda step: self._tell(folder, step),
                ).prune()
        return True

    def _tell(self, folder: RunFolder, step: int) -> None:
        text = f"Checkpoint at step {step} removed: the run is over, and no rule keeps it"
        self._events.add(folder, "checkpoint_pruned", text, step=step, level=logging.INFO)


def _over(desired: Desired | None, status: TrainerStatus | None, *, all_made: bool) -> bool:
    """Whether a trainer has worked on the run and none is expected to go on."""
    if status is None:
        return False
    return all_made or status.phase in FINAL_PHASES or (desired is not None and desired.state == "stopped")


def _has_figures(folder: RunFolder, step: int, spec: RunSpec) -> bool:
    verdict = read_record_or_none(folder.verdict(step, spec.primary_ema), Verdict)
    return verdict is not None and verdict.status == "judged"


def _marks(folder: RunFolder) -> tuple[int, ...]:
    paths = (folder.checkpoints, folder.evaluations, folder.leases, folder.pins, folder.desired, folder.status)
    return tuple(map(_mark, paths))


def _mark(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
