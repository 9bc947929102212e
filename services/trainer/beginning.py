"""Where training begins: at the newest good checkpoint, else at the one that a fork begins with, else at step 0."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from services.trainer.divergence import known_rollbacks, roll_back
from services.trainer.engine import Engine
from services.trainer.forking import adapted
from services.trainer.journal import Events
from services.trainer.metrics import TrainerMetrics
from services.trainer.resume import find_checkpoint, load_groups
from services.trainer.status import Heartbeat
from shared.checkpoints import Checkpoint, CheckpointStore, initial_checkpoint
from shared.data.examples import Dataset
from shared.errors import DivergedError, VolumeError
from shared.layout import RunFolder
from shared.records import Rollbacks
from shared.spec import RunSpec


class EngineBuilder(Protocol):
    """Builds what computes the steps of a run."""

    def __call__(self, spec: RunSpec, dataset: Dataset) -> Engine:
        """An engine at step 0."""
        ...


class Beginning:
    """Builds the engine of a run and puts it where training goes on.

    Args:
        folder: The run.
        spec: Its specification.
        build_engine: Builds the engine; called once it is clear that the run can go on.
        fresh: Begin at step 0 if every checkpoint is damaged. What is committed afterwards is good to go back to.
        heartbeat: Told where it begins.
        events: The same.
        metrics: The same.
        time: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        folder: RunFolder,
        spec: RunSpec,
        build_engine: EngineBuilder,
        fresh: bool,
        heartbeat: Heartbeat,
        events: Events,
        metrics: TrainerMetrics,
        time: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._spec = spec
        self._build_engine = build_engine
        self._fresh = fresh
        self._heartbeat = heartbeat
        self._events = events
        self._metrics = metrics
        self._time = time
        self._store = CheckpointStore(folder)

    def engine(self, dataset: Dataset) -> tuple[Engine, Checkpoint | None]:
        """An engine with the newest good checkpoint in it, or with that of the run that this one is a fork of.

        Returns:
            The engine, and the checkpoint; None at step 0.

        Raises:
            TandemError: The run cannot go on; says why.
        """
        checkpoint = find_checkpoint(
            self._store,
            spec=self._spec,
            dataset_fingerprint=dataset.fingerprint,
            fresh=self._fresh,
            on_quarantine=self._tell_quarantined,
        )
        self._fresh = False
        initial = initial_checkpoint(self._folder) if checkpoint is None else None
        engine = self._build_engine(self._spec, dataset)
        engine.slow(Rollbacks(rollbacks=known_rollbacks(self._folder, checkpoint or initial)))
        self._heartbeat.update(numerics=engine.numerics)
        if checkpoint is not None:
            self._restore(engine, checkpoint)
        elif initial is not None:
            self._begin_with(engine, initial)
        return engine, checkpoint or initial

    def go_back(self, error: DivergedError, *, begin: Checkpoint | None, diverged: int) -> None:
        """Goes back to the newest checkpoint, to go on with a lower rate; raises what happened if it is not to."""
        newest = max(self._store.steps(), default=0 if begin is None else begin.step)
        made = roll_back(
            error,
            folder=self._folder,
            rule=self._spec.on_divergence,
            known=known_rollbacks(self._folder, begin),
            step=newest,
            diverged=diverged,
            time=self._time(),
        )
        self._events.record(
            "rolled_back",
            f"{error.message} at step {diverged}: back to step {newest}, with {made.factor:g} times the rate",
            step=newest,
            level=logging.WARNING,
            diverged=diverged,
            factor=made.factor,
        )

    def _restore(self, engine: Engine, checkpoint: Checkpoint) -> None:
        engine.restore(load_groups(checkpoint, spec=self._spec), step=checkpoint.step)
        self._heartbeat.update(step=checkpoint.step, checkpoint_step=checkpoint.step, loss=checkpoint.manifest.loss)
        self._metrics.checkpoint_step.set(checkpoint.step)
        before, now = checkpoint.manifest.numerics, engine.numerics
        changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        self._events.record(
            "resumed",
            f"Resumed from the checkpoint at step {checkpoint.step}"
            + (f", with other numerics than before: {_shown(before, now, changed)}" if changed else ""),
            step=checkpoint.step,
            changed={key: [before.get(key), now.get(key)] for key in changed},
        )

    def _begin_with(self, engine: Engine, initial: Checkpoint) -> None:
        engine.restore(adapted(initial, fresh=engine.snapshot(), spec=self._spec), step=initial.step)
        self._heartbeat.update(step=initial.step)
        manifest = initial.manifest
        self._events.record(
            "forked",
            f"Begins with the checkpoint at step {initial.step} of run {manifest.run}",
            step=initial.step,
            run=manifest.run,
            manifest_sha256=initial.manifest_sha256,
        )

    def _tell_quarantined(self, step: int, error: VolumeError) -> None:
        self._metrics.quarantined.inc()
        self._events.record(
            "checkpoint_quarantined",
            f"Checkpoint at step {step} is damaged and was moved away: {error}",
            step=step,
            level=logging.WARNING,
        )


def _shown(before: Mapping[str, str], now: Mapping[str, str], changed: Sequence[str]) -> str:
    return "; ".join(f"{key}: was {before.get(key, 'unknown')}, is {now.get(key, 'unknown')}" for key in changed)
