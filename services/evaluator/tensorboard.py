"""Precision over steps for TensorBoard: `tensorboard/eval/<kind>/events.out.tfevents.*`.

Each kind of weights has a folder with the same tags, so that TensorBoard draws raw weights and every average into one
plot. The files are derived from the verdicts, never the other way round, and what is missing is caught up. Readers need
the steps in order, so where an older checkpoint is judged after newer ones, what came of those is voided and repeated.
"""

import logging
from collections.abc import Callable, Mapping

from shared import atomic
from shared.checkpoints import read_spec
from shared.errors import TandemError
from shared.eventfiles import EventFile, newest_file, replace_events, value_messages
from shared.layout import RunFolder, Volume, listed_steps
from shared.locks import exclusive_lock
from shared.records import Verdict, read_record
from shared.spec import RunSpec
from shared.summaries import Value, encode_values

_LOG = logging.getLogger(__name__)

# Repetition makes files grow: one is made anew once it is so many times as large as what is valid in it, and not small.
_WASTE = 8
SMALL_BYTES = 2**20


class TensorBoardCurves:
    """Keeps the curves of runs up to date with their verdicts, together with other evaluators of the volume.

    What cannot be written stops nothing: it is counted, logged once until it can be, and caught up with later.

    Args:
        on_problem: Called with an error's code each time.
        small_bytes: A file of this size is never made anew.
    """

    def __init__(self, *, on_problem: Callable[[str], None], small_bytes: int = SMALL_BYTES) -> None:
        self._on_problem = on_problem
        self._small_bytes = small_bytes
        self._failing = False

    def draw(self, folder: RunFolder, spec: RunSpec, kind: str) -> None:
        """Draws whatever verdicts on weights of this kind are not drawn yet."""
        if spec.cadence.summary_steps is None:
            return
        try:
            with exclusive_lock(folder.tensorboard("eval") / "lock", within=folder.root):
                _draw(folder, kind, small_bytes=self._small_bytes)
        except (OSError, TandemError) as error:
            self._on_problem("curves")
            if not self._failing:
                _LOG.warning("%s: curves for TensorBoard are not drawn: %s", folder.id, error, extra={"run": folder.id})
            self._failing = True
        else:
            self._failing = False

    def catch_up(self, volume: Volume) -> None:
        """Draws what evaluators that were killed left undrawn."""
        for folder in volume.run_folders():
            if not folder.evaluations.is_dir():
                continue
            try:
                spec = read_spec(folder)
            except TandemError:
                continue  # the ledger tells of it
            for kind in spec.weights_kinds:
                self.draw(folder, spec, kind)


def points(verdict: Verdict) -> Mapping[str, Value]:
    """The points of a verdict, by tag; none if the weights could not be judged."""
    figures = {
        "precision_at_1": verdict.precision_at_1,
        f"precision_at_{verdict.top_k}": verdict.precision_at_k,
        "loss": verdict.loss,
    }
    return {tag: value for tag, value in figures.items() if value is not None}


def _draw(folder: RunFolder, kind: str, *, small_bytes: int) -> None:
    root = folder.tensorboard("eval") / kind
    atomic.sweep(root)
    path = newest_file(root)
    drawn = value_messages(path) if path else {}
    new = _undrawn(folder, kind, drawn)
    if not new:
        return
    curve = dict(sorted({**drawn, **new}.items()))
    if path and path.stat().st_size > _WASTE * sum(map(len, curve.values())) + small_bytes:
        replace_events(root, curve.values())
        return
    first = min(new)
    void_from = first if first < max(drawn, default=-1) else None
    file = EventFile(root, void_from=void_from, within=folder.root)
    try:
        file.append(*(message for step, message in curve.items() if step >= first))
    finally:
        file.close()


def _undrawn(folder: RunFolder, kind: str, drawn: Mapping[int, bytes]) -> dict[int, bytes]:
    messages = {}
    for step in listed_steps(folder.evaluations):
        path = folder.verdict(step, kind)
        if step not in drawn and path.exists():
            verdict = read_record(path, Verdict)
            if values := points(verdict):
                messages[step] = encode_values(values, step=step, time=verdict.time)
    return messages
