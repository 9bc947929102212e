"""One trainer's work on one run, from taking it over to letting it go, without knowing what computes a step."""

import logging
import time as system_time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from services.trainer.batches import PrefetchedBatches
from services.trainer.beginning import Beginning, EngineBuilder
from services.trainer.committer import Committer
from services.trainer.control import Control, Request
from services.trainer.divergence import DivergenceWatch, known_rollbacks
from services.trainer.engine import Engine
from services.trainer.fencing import Tenure
from services.trainer.journal import Events, Journal
from services.trainer.loop import AnyOf, EverySeconds, EverySteps, Loop, Scheduled, When
from services.trainer.metrics import TrainerMetrics
from services.trainer.progress import Progress
from services.trainer.sample_order import SampleOrder
from services.trainer.saver import Saver
from services.trainer.settings import TrainerSettings
from services.trainer.status import Heartbeat
from services.trainer.summaries import Summaries
from shared import atomic
from shared.checkpoints import Checkpoint, CheckpointStore
from shared.data.examples import Dataset
from shared.errors import DivergedError
from shared.eventfiles import EventFile
from shared.layout import RunFolder, Volume
from shared.leases import LeaseWatch
from shared.lifecycle import StopEvent
from shared.records import Desired, TrainerPhase
from shared.retention import Pruner
from shared.spec import AlternateSharing, DatasetSpec, RunSpec
from shared.steps import total_steps

log = logging.getLogger(__name__)

# A stop is to be over in ten seconds; a full disk gets half of them.
_LAST_COMMIT_SECONDS = 5.0

_FINAL: dict[Request | None, TrainerPhase] = {
    Request.STOP: "stopped",
    Request.KILL: "stopped",
    Request.RELEASE: "released",
}


class DatasetOpener(Protocol):
    """Opens the data set that a spec names."""

    def __call__(self, spec: DatasetSpec, *, volume: Volume) -> Dataset:
        """The data set."""
        ...


@dataclass(frozen=True)
class Clocks:
    """Time, passed in: monotonic seconds for every deadline, seconds since the epoch for people, and sleep."""

    monotonic: Callable[[], float] = system_time.monotonic
    time: Callable[[], float] = system_time.time
    sleep: Callable[[float], None] = system_time.sleep


class Session:
    """Trains one run until it is complete, stopped, or released.

    Args:
        volume: Where data sets lie.
        folder: The run.
        spec: Its specification.
        tenure: The right to train it, already acquired.
        heartbeat: Its status, already beating.
        events: Told what happens.
        metrics: Measure it.
        stop: Set by signals.
        settings: The trainer's.
        open_dataset: Opens the data set.
        build_engine: Builds the engine; called once it is clear that the run can go on.
        fresh: Begin at step 0 if every checkpoint is damaged.
        clocks: Time.
    """

    def __init__(
        self,
        *,
        volume: Volume,
        folder: RunFolder,
        spec: RunSpec,
        tenure: Tenure,
        heartbeat: Heartbeat,
        events: Events,
        metrics: TrainerMetrics,
        stop: StopEvent,
        settings: TrainerSettings,
        open_dataset: DatasetOpener,
        build_engine: EngineBuilder,
        fresh: bool,
        clocks: Clocks,
    ) -> None:
        self._volume = volume
        self._folder = folder
        self._spec = spec
        self._tenure = tenure
        self._heartbeat = heartbeat
        self._events = events
        self._metrics = metrics
        self._settings = settings
        self._open_dataset = open_dataset
        self._clocks = clocks
        self._store = CheckpointStore(folder)
        self._beginning = Beginning(
            folder=folder,
            spec=spec,
            build_engine=build_engine,
            fresh=fresh,
            heartbeat=heartbeat,
            events=events,
            metrics=metrics,
            time=clocks.time,
        )
        self._control = Control(
            path=folder.desired,
            stop=stop,
            clock=clocks.monotonic,
            poll_seconds=settings.trainer_control_seconds,
            on_change=self._see,
        )

    def run(self) -> TrainerPhase:
        """Trains. Returns the final phase, which the caller tells.

        Raises:
            TandemError: The run cannot go on; says why.
        """
        self._metrics.checkpoint_interval.set(self._spec.cadence.checkpoint_steps)
        for path in (*self._store.sweep(), *atomic.sweep(self._folder.trainer)):
            log.info("Removed what a killed trainer left: %s", path)
        if (request := self._control.request()) in _FINAL:
            return _FINAL[request]
        self._tell_steps()
        dataset = self._open_dataset(self._spec.dataset, volume=self._volume)
        while True:
            engine, begin = self._beginning.engine(dataset)
            try:
                return self._attempt(engine, dataset, begin=begin)
            except DivergedError as error:
                self._beginning.go_back(error, begin=begin, diverged=engine.step)

    def _attempt(self, engine: Engine, dataset: Dataset, *, begin: Checkpoint | None) -> TrainerPhase:
        saver = self._saver(engine, dataset, begin=begin)
        try:
            return self._train(engine, saver, dataset)
        finally:
            saver.close()

    def _train(self, engine: Engine, saver: Saver, dataset: Dataset) -> TrainerPhase:
        series = Journal(self._folder.series, on_loss=self._metrics.lost_lines.inc)
        progress = Progress(
            engine=engine,
            batch_size=self._spec.batch_size,
            series=series,
            heartbeat=self._heartbeat,
            check=self._watch(dataset).check,
            metrics=self._metrics,
            time=self._clocks.time,
        )
        source = PrefetchedBatches(
            examples=dataset.train,
            order=SampleOrder(seed=self._spec.seed, examples=len(dataset.train)),
            batch_size=self._spec.batch_size,
            ahead=self._settings.trainer_prefetch,
            alternate=self._spec.augment.flip == "alternate",
        )
        summaries = Summaries(
            engine=engine,
            batch=source.batch,
            events=EventFile(self._folder.tensorboard("train"), void_from=engine.step + 1, time=self._clocks.time),
            on_loss=self._metrics.lost_summaries.inc,
            time=self._clocks.time,
        )
        loop = Loop(
            engine=engine,
            source=source,
            schedule=self._schedule(progress, summaries, saver),
            clock=self._clocks.monotonic,
            most_steps=self._settings.trainer_steps_per_call,
            seconds_per_call=0.1,
        )
        request: Request | None = None
        first, began = engine.step, self._clocks.monotonic()
        try:
            while engine.step < (end := self._turn_end(first)) and request not in _FINAL:
                self._heartbeat.tell(phase="running", step=engine.step)
                progress.begin(engine.step, self._clocks.monotonic())
                loop.run(until=end, interrupted=partial(self._interrupted, saver, self._steps))
                request = self._control.request()
                if request is Request.HOLD and engine.step < end:
                    self._finish(engine, saver)
                    request = self._hold(engine.step)
            self._heartbeat.tell(phase="stopping", step=engine.step)
            if request is not Request.KILL:
                self._finish(engine, saver)
            # Work that is done is done, even when a stop was asked for at its very end.
            if engine.step >= self._steps:
                return "completed"
            return _FINAL[request] if request in _FINAL else self._yield(engine.step, since=began)
        finally:
            summaries.close()
            series.close()

    @property
    def _steps(self) -> int:
        """How many steps the run is to make, as far as `desired.json` was read."""
        return total_steps(self._spec, self._control.desired)

    def _tell_steps(self) -> None:
        self._metrics.steps.set(self._steps)
        self._heartbeat.update(steps=self._steps)

    def _interrupted(self, saver: Saver, steps: int) -> bool:
        with suppress(OSError):  # a volume that does not answer for a moment takes nothing over
            self._tenure.check()
        saver.check()
        return self._control.request() is not None or self._steps != steps

    def _finish(self, engine: Engine, saver: Saver) -> None:
        saver.finish(engine.step, within=_LAST_COMMIT_SECONDS)

    def _turn_end(self, step: int) -> int:
        """The step before which nothing ends the training that begins at `step`, unless somebody asks for it."""
        sharing = self._spec.sharing
        if not isinstance(sharing, AlternateSharing):
            return self._steps
        return min(self._steps, (step // sharing.every_steps + 1) * sharing.every_steps)

    def _yield(self, step: int, *, since: float) -> TrainerPhase:
        seconds = self._clocks.monotonic() - since
        self._events.record(
            "yielded", f"Leaves the slot to an evaluator at step {step}", step=step, seconds=round(seconds, 3)
        )
        return "yielded"

    def _hold(self, step: int) -> Request | None:
        """Stays in memory until something else is asked for, which is returned."""
        self._heartbeat.tell(phase="holding", step=step)
        self._events.record("holding", f"Holding at step {step}", step=step)
        while (request := self._control.request()) is Request.HOLD:
            with suppress(OSError):
                self._tenure.check()
            self._control.wait()
        return request

    def _saver(self, engine: Engine, dataset: Dataset, *, begin: Checkpoint | None) -> Saver:
        own = begin is not None and begin.manifest.run == self._folder.id
        pruner = Pruner(
            folder=self._folder,
            store=self._store,
            spec=self._spec,
            final=lambda: self._steps,
            leases=LeaseWatch(clock=self._clocks.monotonic, expiry=self._settings.trainer_lease_seconds),
            on_remove=lambda step: self._events.record(
                "checkpoint_pruned", f"Checkpoint at step {step} removed: no rule keeps it", step=step
            ),
        )
        committer = Committer(
            store=self._store,
            pruner=pruner,
            spec=self._spec,
            fence=self._tenure.fence,
            dataset_fingerprint=dataset.fingerprint,
            numerics=engine.numerics,
            rollbacks=known_rollbacks(self._folder, begin),
            guard=self._tenure.check,
            events=self._events,
            metrics=self._metrics,
            clock=self._clocks.monotonic,
            time=self._clocks.time,
        )
        return Saver(
            source=engine,
            committer=committer,
            committed=begin.step if own and begin is not None else None,
            patience=self._settings.trainer_save_patience_seconds,
            check=self._watch(dataset).check,
            on_commit=lambda step: self._heartbeat.update(checkpoint_step=step),
            events=self._events,
            metrics=self._metrics,
            clock=self._clocks.monotonic,
            wait=self._clocks.sleep,
        )

    def _watch(self, dataset: Dataset) -> DivergenceWatch:
        return DivergenceWatch(rule=self._spec.on_divergence, classes=len(dataset.classes))

    def _schedule(self, progress: Progress, summaries: Summaries, saver: Saver) -> list[Scheduled]:
        cadence = self._spec.cadence
        checkpoint: When = EverySteps(cadence.checkpoint_steps)
        if cadence.checkpoint_seconds is not None:
            checkpoint = AnyOf(checkpoint, EverySeconds(cadence.checkpoint_seconds))
        schedule = [Scheduled(EverySteps(cadence.log_steps), progress.tell), Scheduled(checkpoint, saver.save)]
        if cadence.summary_steps is not None:
            schedule.append(Scheduled(EverySteps(cadence.summary_steps), summaries.write))
        return schedule

    def _see(self, desired: Desired) -> None:
        self._heartbeat.update(generation_seen=desired.generation)
        self._tell_steps()
        pause = f" ({desired.pause})" if desired.state == "paused" else ""
        self._events.record(
            "desired_seen",
            f"The run is to be {desired.state}{pause}" + (f": {desired.reason}" if desired.reason else ""),
            generation=desired.generation,
        )
