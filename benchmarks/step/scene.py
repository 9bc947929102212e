"""The trainer's own loop as it is measured: a stretch of steps, and what surrounds the network in it."""

import os
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client import CollectorRegistry

from services.trainer.batches import PrefetchedBatches
from services.trainer.engine import Batch, Engine
from services.trainer.journal import Journal
from services.trainer.loop import EverySteps, Loop, Scheduled
from services.trainer.metrics import TrainerMetrics
from services.trainer.progress import Progress
from services.trainer.sample_order import SampleOrder
from services.trainer.settings import TrainerSettings
from services.trainer.status import Heartbeat
from services.trainer.summaries import Summaries
from shared.data.examples import Dataset
from shared.eventfiles import EventFile
from shared.layout import RunFolder
from shared.records import TrainerStatus
from shared.spec import RunSpec

Source = TypeVar("Source", bound=PrefetchedBatches)


@dataclass(frozen=True)
class Stretch:
    """Some steps of the loop; all in seconds, `processor` and `gathered` in those of processors.

    Attributes:
        steps: How many.
        wall: Of all steps, without what was told between them.
        processor: The same, of every thread.
        waited: By the loop for the next batch; the first one, which a run waits for once, does not count.
        gathered: By the thread that makes batches.
        told: Of each point of the series.
        summarized: Of the summary at the end.
    """

    steps: int
    wall: float
    processor: float
    waited: float
    gathered: float
    told: tuple[float, ...]
    summarized: float


class TimedBatches(PrefetchedBatches):
    """Batches made ahead, that note how long they took to make and how long the loop waited for them."""

    waited = gathered = 0.0

    def batch(self, step: int) -> Batch:
        """The batch of one step, made now."""
        began = time.thread_time()
        made = super().batch(step)
        self.gathered += time.thread_time() - began
        return made

    def batches(self, *, start: int, stop: int) -> Generator[Batch, None, None]:
        """The batches of steps `start` to `stop` - 1."""
        with closing(super().batches(start=start, stop=stop)) as made:
            for step in range(start, stop):
                began = time.perf_counter()
                batch = next(made)
                if step > start:
                    self.waited += time.perf_counter() - began
                yield batch


class Scene:
    """A run's loop with everything that it does between checkpoints.

    Args:
        spec: The run.
        dataset: What it trains on.
        engine: Makes its steps.
        folder: The run's.
        steps: Of a stretch.
    """

    def __init__(self, *, spec: RunSpec, dataset: Dataset, engine: Engine, folder: RunFolder, steps: int) -> None:
        self._spec = spec
        self._engine = engine
        self._steps = steps
        settings = TrainerSettings()
        self._source = _batches(TimedBatches, spec, dataset, ahead=settings.trainer_prefetch)
        metrics = TrainerMetrics(registry=CollectorRegistry(), run=folder.id)
        self.heartbeat = Heartbeat(
            path=folder.status,
            status=_status(folder, spec),
            guard=lambda: None,
            interval=settings.trainer_heartbeat_seconds,
            time=time.time,
            on_loss=metrics.lost_lines.inc,
        )
        self._series = Journal(folder.series, on_loss=metrics.lost_lines.inc)
        self._progress = Progress(
            engine=engine,
            batch_size=spec.batch_size,
            series=self._series,
            heartbeat=self.heartbeat,
            check=lambda step, losses: None,
            metrics=metrics,
            time=time.time,
        )
        self._summaries = Summaries(
            engine=engine,
            batch=_batches(PrefetchedBatches, spec, dataset, ahead=1).batch,
            events=EventFile(folder.tensorboard("train")),
            on_loss=metrics.lost_summaries.inc,
            time=time.time,
        )
        self._aside = 0.0

    def stretch(self) -> Stretch:
        """Makes the steps of one stretch."""
        told: list[float] = []
        summarized: list[float] = []
        self._aside = self._source.waited = self._source.gathered = 0.0
        loop = Loop(
            engine=self._engine,
            source=self._source,
            schedule=[
                Scheduled(EverySteps(self._spec.cadence.log_steps), self._timed(self._progress.tell, told)),
                Scheduled(EverySteps(self._steps), self._timed(self._summaries.write, summarized)),
            ],
            clock=time.monotonic,
            most_steps=32,
            seconds_per_call=0.1,
        )
        wall, processor = time.perf_counter(), time.process_time()
        self._progress.begin(self._engine.step, time.monotonic())
        loop.run(until=self._engine.step + self._steps, interrupted=lambda: False)
        return Stretch(
            steps=self._steps,
            wall=time.perf_counter() - wall - sum(told) - sum(summarized),
            processor=time.process_time() - processor - self._aside,
            waited=self._source.waited,
            gathered=self._source.gathered,
            told=tuple(told),
            summarized=sum(summarized),
        )

    def close(self) -> None:
        """Closes its files."""
        self._summaries.close()
        self._series.close()

    def _timed(self, action: Callable[[int, float], None], into: list[float]) -> Callable[[int, float], None]:
        def act(step: int, now: float) -> None:
            self._engine.losses()  # what is still being computed is not the action's
            wall, processor = time.perf_counter(), time.process_time()
            action(step, now)
            into.append(time.perf_counter() - wall)
            self._aside += time.process_time() - processor

        return act


def _batches(kind: type[Source], spec: RunSpec, dataset: Dataset, *, ahead: int) -> Source:
    order = SampleOrder(seed=spec.seed, examples=len(dataset.train))
    return kind(examples=dataset.train, order=order, batch_size=spec.batch_size, ahead=ahead)


def _status(folder: RunFolder, spec: RunSpec) -> TrainerStatus:
    now = time.time()
    return TrainerStatus(
        run=folder.id,
        slot="benchmark",
        phase="running",
        step=0,
        steps=spec.steps,
        beat=0,
        time=now,
        started=now,
        fence=1,
        generation_seen=0,
        pid=os.getpid(),
        host="benchmark",
        versions={},
    )
