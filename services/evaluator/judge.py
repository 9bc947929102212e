"""Judges weights with TensorFlow: the whole test set, each example exactly once, on the CPU.

The first checkpoint of a kind of run pays for building the network and preparing the pictures; both are kept, within
bounds, so that later ones cost forward passes alone.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from services.evaluator.figures import Tally
from services.evaluator.judging import AbandonedError, Judged, NotFiniteError
from services.evaluator.recalibration import Statistic, moving_statistics, recalibrate
from shared.answers import Answers
from shared.checkpoints import Arrays
from shared.data.catalog import open_dataset
from shared.data.examples import Dataset, Labels
from shared.data.statistics import ChannelStatistics, channel_statistics
from shared.layout import Volume
from shared.ml.models import build_model
from shared.ml.preprocess import evaluation_view, training_view, view_shape
from shared.ml.weights import assign_variables, named_variables
from shared.records import Recalibrated
from shared.spec import AugmentSpec, RunSpec

COMPARED_EXAMPLES = 128
"""How many answers are kept for an export to be compared with; it costs the time of as many again."""

Batches = list[tuple[Any, Labels]]


def visible_gpus() -> Sequence[str]:
    """The names of the GPUs that TensorFlow sees."""
    return [device.name for device in tf.config.list_physical_devices("GPU")]


@dataclass(frozen=True)
class Network:
    """A model and what it computes: `logits` maps float32 views [n, …] to float32 [n, classes], compiled once.

    `learn` runs it as in training, which moves `statistics`, those of batch normalisation.
    """

    model: Any
    variables: dict[str, Any]
    logits: Callable[[Any], Any]
    learn: Callable[[Any], Any]
    statistics: tuple[Statistic, ...]


class EvaluationCache:
    """Networks, data sets and prepared test pictures, kept between checkpoints.

    Args:
        volume: Where data sets are looked for.
        cache_bytes: How much memory prepared pictures may take. A test set that needs more is prepared each time.
        networks: How many networks and how many data sets are kept.
        own_modules: Modules of the operator's that networks may come from.
    """

    def __init__(self, *, volume: Volume, cache_bytes: int, networks: int = 4, own_modules: Sequence[str] = ()) -> None:
        self._volume = volume
        self._own_modules = own_modules
        self._cache_bytes = cache_bytes
        self._limit = networks
        self._networks: OrderedDict[str, Network] = OrderedDict()
        self._datasets: OrderedDict[str, Dataset] = OrderedDict()
        self._statistics: dict[str, ChannelStatistics] = {}
        self._batches: OrderedDict[tuple[str, str, int], Batches] = OrderedDict()

    def dataset(self, spec: RunSpec) -> Dataset:
        """The run's data set.

        Raises:
            DatasetError: It cannot be used.
        """
        key = spec.dataset.model_dump_json()
        if key not in self._datasets:
            _keep(self._datasets, key, open_dataset(spec.dataset, volume=self._volume), limit=self._limit)
        self._datasets.move_to_end(key)
        return self._datasets[key]

    def statistics(self, spec: RunSpec) -> ChannelStatistics | None:
        """The training split's statistics, where the spec standardises by them."""
        if spec.augment.standardize != "dataset":
            return None
        dataset = self.dataset(spec)
        if dataset.fingerprint not in self._statistics:
            self._statistics[dataset.fingerprint] = channel_statistics(dataset.train)
        return self._statistics[dataset.fingerprint]

    def network(self, spec: RunSpec) -> Network:
        """The run's network, with whatever weights were last put into it.

        Raises:
            SpecError, DatasetError: It cannot be built.
        """
        dataset = self.dataset(spec)
        view = view_shape(spec.augment, dataset.test.image_shape)
        key = f"{spec.model.model_dump_json()} {view} {len(dataset.classes)}"
        if key not in self._networks:
            model = build_model(
                spec.model,
                image_shape=view,
                classes=len(dataset.classes),
                seed=spec.seed,
                own_modules=self._own_modules,
            )
            signature = [tf.TensorSpec([None, *view], tf.float32)]
            logits = tf.function(lambda views: model(views, training=False), input_signature=signature)
            network = Network(
                model=model,
                variables=named_variables(model),
                logits=logits,
                learn=tf.function(lambda views: model(views, training=True), input_signature=signature),
                statistics=moving_statistics(model),
            )
            _keep(self._networks, key, network, limit=self._limit)
        self._networks.move_to_end(key)
        return self._networks[key]

    def batches(self, spec: RunSpec) -> Iterator[tuple[Any, Labels]]:
        """The test set in order as the network sees it: float32 views [n, …] and int32 labels [n], the last n partial.

        Raises:
            DatasetError, SpecError: It cannot be read or cropped.
        """
        dataset = self.dataset(spec)
        augment = AugmentSpec(crop=spec.augment.crop, standardize=spec.augment.standardize)
        key = (dataset.fingerprint, augment.model_dump_json(), spec.evaluation.batch_size)
        if key in self._batches:
            self._batches.move_to_end(key)
            yield from self._batches[key]
            return
        size = 4 * len(dataset.test) * int(np.prod(view_shape(augment, dataset.test.image_shape)))
        kept: Batches | None = [] if size <= self._cache_bytes else None
        for batch in self._prepared(spec, augment):
            if kept is not None:
                kept.append(batch)
            yield batch
        if kept is not None:
            self._batches[key] = kept
            while sum(_bytes(batches) for batches in self._batches.values()) > self._cache_bytes:
                self._batches.popitem(last=False)

    def training_batches(self, spec: RunSpec, examples: int) -> Iterator[Any]:
        """About `examples` pictures of the training split, distorted as in training: float32 views [n, …].

        Which pictures and how is decided by the spec's seed alone; batches are of the size that the run trains with.

        Raises:
            DatasetError, SpecError: It cannot be read or cropped.
        """
        train, statistics = self.dataset(spec).train, self.statistics(spec)
        # Where flips alternate over the epochs, a coin shows as many pictures from either side.
        augment = spec.augment.model_copy(update={"flip": bool(spec.augment.flip)})
        size = min(spec.batch_size, len(train))
        count = max(1, min(examples, len(train)) // size)
        chosen = np.random.default_rng(spec.seed).choice(len(train), size * count, replace=False)
        for number in range(count):
            images, _ = train.gather(chosen[number * size : (number + 1) * size].astype(np.int64))
            yield training_view(images, augment, statistics, seed=spec.seed, step=number, batch_size=size)

    def _prepared(self, spec: RunSpec, augment: AugmentSpec) -> Iterator[tuple[Any, Labels]]:
        test, statistics = self.dataset(spec).test, self.statistics(spec)
        for start in range(0, len(test), spec.evaluation.batch_size):
            stop = min(start + spec.evaluation.batch_size, len(test))
            images, labels = test.gather(np.arange(start, stop, dtype=np.int64))
            yield evaluation_view(images, augment, statistics), labels


class TensorFlowJudge:
    """Judges weights; see `judging.Judge`.

    Args:
        cache: Keeps networks and pictures.
        recalibration_examples: Pictures of the training split for batch normalisation's statistics to be taken anew
            from, of an average; 0: they are not.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        cache: EvaluationCache,
        recalibration_examples: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._recalibration_examples = recalibration_examples
        self._clock = clock

    def judge(
        self, spec: RunSpec, weights: Arrays, *, source: str, wanted: Callable[[], bool], averaged: bool = False
    ) -> Judged:
        """Judges one kind of weights of one checkpoint; see `judging.Judge`."""
        started = self._clock()
        dataset = self._cache.dataset(spec)
        network = self._cache.network(spec)
        assign_variables(network.variables, weights, source=source)
        first: list[Any] = []
        tally = self._counted(spec, network, wanted=wanted, first=first)
        if tally.not_finite:
            raise NotFiniteError(
                f"{tally.not_finite} of {len(dataset.test)} answers are not finite numbers", where=source
            )
        answers = np.concatenate(first)[:COMPARED_EXAMPLES]
        images, _ = dataset.test.gather(np.arange(len(answers), dtype=np.int64))
        seconds = self._clock() - started
        return Judged(
            figures=tally.figures(),
            answers=Answers(*tally.answers(), dataset_fingerprint=dataset.fingerprint),
            seconds=seconds,
            images=images,
            logits=answers,
            classes=tuple(dataset.classes),
            recalibrated=self._recalibrated(spec, network, wanted=wanted) if averaged else None,
        )

    def _counted(self, spec: RunSpec, network: Network, *, wanted: Callable[[], bool], first: list[Any]) -> Tally:
        tally = Tally(classes=self._cache.dataset(spec).classes, top_k=spec.evaluation.top_k)
        for views, labels in self._cache.batches(spec):
            if not wanted():
                raise AbandonedError
            logits = network.logits(views).numpy()
            tally.add(logits, labels)
            if sum(map(len, first)) < COMPARED_EXAMPLES:
                first.append(logits)
        return tally

    def _recalibrated(self, spec: RunSpec, network: Network, *, wanted: Callable[[], bool]) -> Recalibrated | None:
        if not (self._recalibration_examples and network.statistics):
            return None
        started = self._clock()
        batches = self._cache.training_batches(spec, self._recalibration_examples)
        examples = recalibrate(network.statistics, network.learn, batches, wanted=wanted)
        tally = self._counted(spec, network, wanted=wanted, first=[])
        if tally.not_finite:
            return None  # the weights' own answers are finite, so this says nothing about them
        figures = tally.figures()
        return Recalibrated(
            examples=examples,
            precision_at_1=figures.precision_at_1,
            interval=figures.interval,
            loss=figures.loss,
            calibration_error=figures.calibration.error,
            seconds=self._clock() - started,
        )


def _keep(kept: OrderedDict[str, Any], key: str, value: Any, *, limit: int) -> None:
    kept[key] = value
    while len(kept) > limit:
        kept.popitem(last=False)


def _bytes(batches: Batches) -> int:
    return sum(4 * int(np.prod(views.shape)) for views, _ in batches)
