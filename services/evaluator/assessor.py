"""The assessment of one checkpoint: load its weights, judge each kind, export the primary average, write the verdicts.

The primary average comes last and its export precedes its verdict. So the verdict says that all is done: an evaluator
that is killed at any instant leaves something due, and whoever does it again finds the finished parts and keeps them.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.evaluator.drift import drift_since_last
from services.evaluator.events import EventLog
from services.evaluator.judging import Exporter, Judge, Judged, NotExportableError, NotFiniteError
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.standings import Standings
from services.evaluator.tensorboard import TensorBoardCurves
from services.evaluator.verdicts import VerdictWriter
from shared.checkpoints import Arrays, Checkpoint, CheckpointStore, read_spec
from shared.errors import CorruptCheckpointError
from shared.layout import RunFolder
from shared.records import CheckpointManifest
from shared.spec import RunSpec

_LOG = logging.getLogger(__name__)

# Averages begin as copies of the weights and leave them with the second step at the latest.
_EQUAL_UNTIL_STEP = 1


@dataclass(frozen=True)
class _Case:
    folder: RunFolder
    spec: RunSpec
    checkpoint: Checkpoint
    wanted: Callable[[], bool]


class Assessor:
    """Assesses one checkpoint at a time.

    Args:
        judge: Judges weights.
        exporter: Makes servable models.
        verdicts: Writes verdicts.
        standings: What they are compared with.
        curves: Shown the verdicts.
        events: Where problems are told.
        metrics: Where figures are shown.
        on_open: Called with the manifest once a checkpoint is open and its evaluation begins.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        judge: Judge,
        exporter: Exporter,
        verdicts: VerdictWriter,
        standings: Standings,
        curves: TensorBoardCurves,
        events: EventLog,
        metrics: EvaluatorMetrics,
        on_open: Callable[[CheckpointManifest], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._judge = judge
        self._exporter = exporter
        self._verdicts = verdicts
        self._standings = standings
        self._curves = curves
        self._events = events
        self._metrics = metrics
        self._on_open = on_open
        self._clock = clock

    def assess(self, folder: RunFolder, step: int, kinds: Sequence[str], *, wanted: Callable[[], bool]) -> None:
        """Writes the verdicts on `kinds` of the checkpoint at `step`, and its export.

        What can be judged is judged and written, even if another kind's file is damaged.

        Args:
            folder: The run.
            step: Of the checkpoint.
            kinds: Those without a verdict.
            wanted: Asked between batches whether to go on.

        Raises:
            NotFoundError: The checkpoint was pruned.
            CorruptCheckpointError: Something of it is damaged; the kinds concerned have no verdict yet.
            AbandonedError: `wanted` said no.
            SpecError, DatasetError, VolumeError, OSError: It cannot be judged now.
        """
        spec = read_spec(folder)
        checkpoint = CheckpointStore(folder).open(step)
        if not any(kind.startswith("ema-") for kind in checkpoint.manifest.weights):
            raise CorruptCheckpointError("its manifest lists no averaged weights (ema-…)", where=str(checkpoint.folder))
        self._on_open(checkpoint.manifest)
        case = _Case(folder=folder, spec=spec, checkpoint=checkpoint, wanted=wanted)
        # All are loaded before the first is judged: from here on nobody can prune them from under the evaluation.
        weights, damage = _load(checkpoint, kinds)
        self._doubt(case, weights)
        for kind in sorted(weights, key=lambda kind: kind == spec.primary_ema):
            try:
                self._assess_kind(case, kind, weights[kind])
            except CorruptCheckpointError as error:
                damage = damage or error
        if damage is not None:
            raise damage

    def _assess_kind(self, case: _Case, kind: str, weights: Arrays) -> None:
        folder, step = case.folder, case.checkpoint.step
        source = str(case.checkpoint.folder / kind)
        try:
            _check_finite(weights, source=source)
            judged = self._judge.judge(case.spec, weights, source=source, wanted=case.wanted, averaged=kind != "raw")
        except NotFiniteError as error:
            self._metrics.problem(error.code)
            if self._verdicts.condemned(folder, step, kind, "failed", error):
                self._events.add(folder, error.code, str(error), step=step, weights=kind)
            return
        if kind == case.spec.primary_ema:
            self._export(case, kind, weights, judged)
        drift = drift_since_last(folder, step=step, kind=kind, weights=weights)
        self._verdicts.judged(
            folder,
            step,
            kind,
            judged,
            manifest_sha256=case.checkpoint.manifest_sha256,
            comparison=self._standings.comparison(folder, step, kind, judged.answers),
            drift=drift,
        )
        self._standings.tidy(folder, kind)
        self._curves.draw(folder, case.spec, kind)
        self._metrics.verdict(
            folder.id, step, kind, judged.figures, seconds=judged.seconds, drift=None if drift is None else drift.total
        )
        _LOG.info(
            "%s at step %d: precision at 1 of %s is %.4f (%d examples in %.1f s)",
            folder.id,
            step,
            kind,
            judged.figures.precision_at_1,
            judged.figures.examples,
            judged.seconds,
            extra={"run": folder.id, "step": step},
        )

    def _export(self, case: _Case, kind: str, weights: Arrays, judged: Judged) -> None:
        started = self._clock()
        step = case.checkpoint.step
        try:
            made = self._exporter.export(case.folder, case.spec, step=step, kind=kind, weights=weights, judged=judged)
        except NotExportableError as error:
            self._metrics.problem(error.code)
            self._metrics.export(made=False, seconds=self._clock() - started)
            self._events.add(case.folder, error.code, str(error), step=step, weights=kind)
        else:
            if made:
                self._metrics.export(made=True, seconds=self._clock() - started)

    def _doubt(self, case: _Case, weights: dict[str, Arrays]) -> None:
        raw, average = weights.get("raw"), weights.get(case.spec.primary_ema)
        if raw is None or average is None or case.checkpoint.step <= _EQUAL_UNTIL_STEP:
            return
        if raw.keys() == average.keys() and all(np.array_equal(raw[name], average[name]) for name in raw):
            message = f"{case.spec.primary_ema} equals the raw weights in every bit; nothing seems to be averaged"
            self._metrics.problem("ema_equals_raw")
            self._events.add(case.folder, "ema_equals_raw", message, step=case.checkpoint.step)


def _load(checkpoint: Checkpoint, kinds: Sequence[str]) -> tuple[dict[str, Arrays], CorruptCheckpointError | None]:
    weights: dict[str, Arrays] = {}
    damage = None
    for kind in kinds:
        try:
            if kind not in checkpoint.manifest.weights:
                raise CorruptCheckpointError(f"its manifest lists no weights {kind}", where=str(checkpoint.folder))
            weights[kind] = checkpoint.load(kind)
        except CorruptCheckpointError as error:
            damage = damage or error
    return weights, damage


def _check_finite(weights: Arrays, *, source: str) -> None:
    # The answers alone do not tell: a rectifier can make a zero of what is not a number.
    for name, array in weights.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise NotFiniteError(f"{name} holds values that are not finite numbers", where=source)
