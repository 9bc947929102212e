"""What is timed alone beside the loop: a batch's distortion, an update of the averages, a heartbeat."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from services.trainer.status import Heartbeat
from shared.data.examples import Dataset
from shared.spec import RunSpec

BEATS = 5
REPEATS = 10


def distortion(spec: RunSpec, dataset: Dataset) -> Callable[[int], Any]:
    """Distorts a batch, always the same pictures; compiled."""
    import tensorflow as tf  # noqa: PLC0415

    from shared.ml.preprocess import training_view  # noqa: PLC0415

    images, _ = dataset.train.gather(np.arange(spec.batch_size, dtype=np.int64) % len(dataset.train))

    def distort(images: Any, step: Any) -> Any:
        return training_view(images, spec.augment, seed=spec.seed, step=step, batch_size=spec.batch_size)

    signature = [tf.TensorSpec(images.shape, tf.uint8), tf.TensorSpec([], tf.int64)]
    compiled = tf.function(distort, input_signature=signature, autograph=False)
    return lambda step: compiled(images, np.int64(step))


def averages_update(spec: RunSpec, dataset: Dataset) -> Callable[[int], Any]:
    """Updates averages of the network's weights, which stay as they are; compiled."""
    import tensorflow as tf  # noqa: PLC0415

    from services.trainer.ema import ShadowWeights, shares  # noqa: PLC0415
    from shared.ml.models import build_model  # noqa: PLC0415
    from shared.ml.preprocess import view_shape  # noqa: PLC0415
    from shared.ml.weights import named_variables  # noqa: PLC0415

    shape = view_shape(spec.augment, dataset.train.image_shape)
    model = build_model(spec.model, image_shape=shape, classes=len(dataset.classes), seed=spec.seed)
    averages = ShadowWeights(weights=named_variables(model), decays=spec.ema.decays)

    def update(shares: Any) -> Any:
        averages.update(shares)
        return shares

    signature = [tf.TensorSpec([len(spec.ema.decays)], tf.float32)]
    compiled = tf.function(update, input_signature=signature, autograph=False)
    return lambda step: compiled(shares(spec.ema.decays, step + 1))


def seconds_of(call: Callable[[int], Any]) -> tuple[float, float]:
    """Seconds that a call takes, and those of processors."""
    wall, processor = time.perf_counter(), time.process_time()
    for step in range(REPEATS):
        made = call(step)
    made.numpy()  # waits for the device
    return (time.perf_counter() - wall) / REPEATS, (time.process_time() - processor) / REPEATS


def seconds_of_a_beat(heartbeat: Heartbeat) -> float:
    """Seconds of a processor for one heartbeat."""
    began = time.thread_time()
    for _ in range(BEATS):
        heartbeat.beat()
    return (time.thread_time() - began) / BEATS
