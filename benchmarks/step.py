"""Where a step's time goes: `python -m benchmarks.step`.

The tutorial's recipe is trained in stretches, by the trainer's own loop with its batches, series and summaries, in
turns with averages and without. Averages are within the graph of a step, so they cost what the stretches differ by,
round by round; on a busy machine, where that is lost in the noise, their update alone tells more. The rest is timed
where it happens: the loop's wait for the next batch, the processor time of the thread that gathers batches, a point of
the series, a summary; and alone, with every round, a batch's distortion and a heartbeat. What checkpoints cost is
measured by `benchmarks.checkpointing`.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from prometheus_client import CollectorRegistry

from benchmarks.report import Report, add_output
from services.trainer.batches import PrefetchedBatches
from services.trainer.engine import Batch, Engine
from services.trainer.journal import Journal
from services.trainer.loop import EverySteps, Loop, Scheduled
from services.trainer.metrics import TrainerMetrics
from services.trainer.order import SampleOrder
from services.trainer.progress import Progress
from services.trainer.settings import TrainerSettings
from services.trainer.status import Heartbeat
from services.trainer.summaries import Summaries
from shared import recipes
from shared.data.catalog import open_dataset
from shared.data.examples import Dataset
from shared.devices import prepare_tensorflow
from shared.eventfiles import EventFile
from shared.layout import RunFolder, Volume
from shared.records import TrainerStatus
from shared.spec import EmaSpec, RunSpec, overlay, parse_spec

RECIPE = "cifar10-tutorial"
SUMMARY_STEPS = 100
BEATS = 5
REPEATS = 10

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


@dataclass(frozen=True)
class Round:
    """A stretch with averages and one without, and what was timed alone beside them.

    Attributes:
        whole: With averages.
        plain: Without.
        distorting: Seconds of a batch's distortion.
        distorting_processor: The same, of processors.
        averaging: Seconds of an update of the averages.
        beat: Seconds of a processor for a heartbeat.
    """

    whole: Stretch
    plain: Stretch
    distorting: float
    distorting_processor: float
    averaging: float
    beat: float


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


def measure(spec: RunSpec, volume: Volume, *, rounds: int, steps: int) -> list[Round]:
    """Trains in turns.

    Args:
        spec: What is trained.
        volume: Where its files are written.
        rounds: How many.
        steps: Of a stretch, at least as many as between two points of the series.
    """
    dataset = open_dataset(spec.dataset, volume=volume)
    # What no recipe may ask for: no averages at all.
    bare = spec.model_copy(update={"ema": EmaSpec.model_construct(decays=())})
    whole, plain = (
        Scene(spec=spec, dataset=dataset, engine=_engine(one, dataset), folder=volume.run(name), steps=steps)
        for name, one in (("whole", spec), ("plain", bare))
    )
    distort, average = _distorting(spec, dataset), _averaging(spec, dataset)
    found = []
    for number in range(-1, rounds):
        # Whoever comes second finds a machine that is a little warmer, so they change places.
        pair = {scene: scene.stretch() for scene in ((whole, plain) if number % 2 else (plain, whole))}
        (distorting, distorting_processor), (averaging, _) = _alone(distort), _alone(average)
        if number >= 0:  # before that the graphs are built
            found.append(
                Round(
                    whole=pair[whole],
                    plain=pair[plain],
                    distorting=distorting,
                    distorting_processor=distorting_processor,
                    averaging=averaging,
                    beat=_beating(whole.heartbeat),
                )
            )
    whole.close()
    plain.close()
    return found


@dataclass(frozen=True)
class Parts:
    """Medians over the rounds in seconds; `gathering`, `pipeline`, `processor` and `beat` in those of processors.

    `step` is a whole one: its share of series and summaries is in it. `averages` holds the quartiles of the differences
    between stretches with and without them, a step each, and `averaging` is their update alone. `pipeline` is gathering
    and distorting a batch.
    """

    step: float
    processor: float
    waiting: float
    gathering: float
    distorting: float
    pipeline: float
    averages: tuple[float, float, float]
    averaging: float
    point: float
    summary: float
    beat: float

    @classmethod
    def of(cls, rounds: Sequence[Round], spec: RunSpec) -> "Parts":
        """What the rounds come to."""

        def median(value: Callable[[Round], float]) -> float:
            return statistics.median(value(one) for one in rounds)

        point = statistics.median(seconds for one in rounds for seconds in one.whole.told)
        summary = median(lambda one: one.whole.summarized)
        differences = [one.whole.wall / one.whole.steps - one.plain.wall / one.plain.steps for one in rounds]
        low, middle, high = np.quantile(differences, [0.25, 0.5, 0.75]).tolist()
        gathering = median(lambda one: one.whole.gathered / one.whole.steps)
        told = point / spec.cadence.log_steps + summary / _summary_steps(spec)
        return cls(
            step=median(lambda one: one.whole.wall / one.whole.steps) + told,
            processor=median(lambda one: one.whole.processor / one.whole.steps),
            waiting=median(lambda one: one.whole.waited / max(1, one.whole.steps - 1)),
            gathering=gathering,
            distorting=median(lambda one: one.distorting),
            pipeline=gathering + median(lambda one: one.distorting_processor),
            averages=(low, middle, high),
            averaging=median(lambda one: one.averaging),
            point=point,
            summary=summary,
            beat=median(lambda one: one.beat),
        )

    def telling(self, spec: RunSpec, *, interval: float) -> float:
        """The share of a step that series, summaries and heartbeats take together.

        Args:
            spec: Says how often the first two come.
            interval: Seconds between two heartbeats, whose thread is counted as if the loop waited for it.
        """
        steps = self.point / spec.cadence.log_steps + self.summary / _summary_steps(spec)
        return steps / self.step + self.beat / interval


def table(parts: Parts, spec: RunSpec, *, interval: float) -> str:
    """Where a step goes, in Markdown."""
    every, per_summary = spec.cadence.log_steps, _summary_steps(spec)
    beats = parts.beat / interval * parts.step
    (low, average, high), alone = parts.averages, 1e3 * parts.averaging
    own = parts.step - parts.waiting - parts.distorting - average - parts.point / every - parts.summary / per_summary
    lines = [
        ("forwards, backwards, update of the weights: the rest", own, ""),
        ("distorting", parts.distorting, "timed alone"),
        ("averages", average, f"difference, half of them {1e3 * low:.2f} to {1e3 * high:.2f} ms; alone {alone:.2f} ms"),
        ("waiting for the next batch", parts.waiting, "timed in the loop"),
        (f"series, every {every} steps", parts.point / every, f"{1e3 * parts.point:.2f} ms each"),
        (f"summaries, every {per_summary} steps", parts.summary / per_summary, f"{1e3 * parts.summary:.1f} ms each"),
        ("heartbeats, in their own thread", beats, f"{1e3 * parts.beat:.2f} ms of a processor, every {interval:g} s"),
        ("gathering, in its own thread", parts.gathering, "processor time"),
    ]
    rows = [f"| {name} | {1e3 * value:.2f} | {value / parts.step:.2%} | {how} |" for name, value, how in lines]
    whole = f"| the whole step | {1e3 * parts.step:.2f} | | {1e3 * parts.processor:.1f} ms of processors |"
    return "\n".join(["| part | ms of a step | share | |", "| --- | --- | --- | --- |", *rows, whole])


def add_figures(report: Report, parts: Parts, spec: RunSpec, *, interval: float) -> None:
    """The shares of a step, with what they may be at most."""
    low, average, high = (100 * value / parts.step for value in parts.averages)
    report.add(f"a step of {RECIPE}, batch {spec.batch_size}", 1e3 * parts.step, "ms")
    report.add("of it, waiting for the next batch", 100 * parts.waiting / parts.step, "%", at_most=3)
    report.add(
        "of its processor time, gathering and distorting", 100 * parts.pipeline / parts.processor, "%", at_most=3
    )
    report.add("of it, averages: the median difference to steps without", average, "%", at_most=2)
    report.add("… a quarter of the differences is below", low, "%")
    report.add("… and a quarter above", high, "%")
    report.add("… their update alone", 100 * parts.averaging / parts.step, "%")
    together = 100 * parts.telling(spec, interval=interval)
    report.add("of it, summaries, series and heartbeats together", together, "%", at_most=2)
    report.details["parts"] = asdict(parts)


def _batches(kind: type[Source], spec: RunSpec, dataset: Dataset, *, ahead: int) -> Source:
    order = SampleOrder(seed=spec.seed, examples=len(dataset.train))
    return kind(examples=dataset.train, order=order, batch_size=spec.batch_size, ahead=ahead)


def _summary_steps(spec: RunSpec) -> int:
    return spec.cadence.summary_steps or SUMMARY_STEPS


def _engine(spec: RunSpec, dataset: Dataset) -> Engine:
    # TensorFlow reads the environment when it is imported.
    from services.trainer.step import build_engine  # noqa: PLC0415

    return build_engine(
        spec,
        classes=len(dataset.classes),
        image_shape=dataset.train.image_shape,
        train_examples=len(dataset.train),
    )


def _distorting(spec: RunSpec, dataset: Dataset) -> Callable[[int], Any]:
    """Distorts a batch, always the same pictures; compiled."""
    import tensorflow as tf  # noqa: PLC0415

    from shared.ml.preprocess import training_view  # noqa: PLC0415

    images, _ = dataset.train.gather(np.arange(spec.batch_size, dtype=np.int64) % len(dataset.train))

    def distort(images: Any, step: Any) -> Any:
        return training_view(images, spec.augment, seed=spec.seed, step=step, batch_size=spec.batch_size)

    signature = [tf.TensorSpec(images.shape, tf.uint8), tf.TensorSpec([], tf.int64)]
    compiled = tf.function(distort, input_signature=signature, autograph=False)
    return lambda step: compiled(images, np.int64(step))


def _averaging(spec: RunSpec, dataset: Dataset) -> Callable[[int], Any]:
    """Updates averages of the network's weights, which stay as they are; compiled."""
    import tensorflow as tf  # noqa: PLC0415

    from services.trainer.averages import Averages, shares  # noqa: PLC0415
    from shared.ml.models import build_model  # noqa: PLC0415
    from shared.ml.preprocess import view_shape  # noqa: PLC0415
    from shared.ml.weights import named_variables  # noqa: PLC0415

    shape = view_shape(spec.augment, dataset.train.image_shape)
    model = build_model(spec.model, image_shape=shape, classes=len(dataset.classes), seed=spec.seed)
    averages = Averages(weights=named_variables(model), decays=spec.ema.decays)

    def update(shares: Any) -> Any:
        averages.update(shares)
        return shares

    signature = [tf.TensorSpec([len(spec.ema.decays)], tf.float32)]
    compiled = tf.function(update, input_signature=signature, autograph=False)
    return lambda step: compiled(shares(spec.ema.decays, step + 1))


def _alone(call: Callable[[int], Any]) -> tuple[float, float]:
    """Seconds that a call takes, and those of processors."""
    wall, processor = time.perf_counter(), time.process_time()
    for step in range(REPEATS):
        made = call(step)
    made.numpy()  # waits for the device
    return (time.perf_counter() - wall) / REPEATS, (time.process_time() - processor) / REPEATS


def _beating(heartbeat: Heartbeat) -> float:
    began = time.thread_time()
    for _ in range(BEATS):
        heartbeat.beat()
    return (time.thread_time() - began) / BEATS


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


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", help="a folder with CIFAR-10 in its official layout; without it, generated shapes")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=20, help="of a stretch; there are two in a round")
    add_output(parser)
    given = parser.parse_args()
    prepare_tensorflow(os.environ, device="auto")
    data = {"kind": "cifar10", "path": given.data} if given.data else {"kind": "shapes"}
    spec = parse_spec(overlay(recipes.load(RECIPE), {"dataset": data}), source=RECIPE)
    with tempfile.TemporaryDirectory() as folder, Report("step", given.output) as report:
        volume = Volume(Path(folder))
        rounds = measure(spec, volume, rounds=given.rounds, steps=given.steps)
        parts = Parts.of(rounds, spec)
        interval = TrainerSettings().trainer_heartbeat_seconds
        print(table(parts, spec, interval=interval))
        add_figures(report, parts, spec, interval=interval)
        report.details["rounds"] = [asdict(one) for one in rounds]


if __name__ == "__main__":
    main()
