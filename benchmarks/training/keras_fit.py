"""The other side: the tutorial network as a user of Keras writes it, trained by `fit` with its default settings.

    python -m benchmarks.training.keras_fit TASK.json per-image|per-batch RESULT

TensorFlow's switches are left as they are by default. The pipeline is a `tf.data` one of 50,000 shuffled examples or
however many there are, either distorted picture by picture with the functions of `tf.image` (`map` with
`num_parallel_calls=AUTOTUNE`, then `batch` and `prefetch`), or, `per-batch`, after batching by tandem's own vectorised
functions. It neither averages weights, nor writes checkpoints or a series, and prints nothing: each would slow it down.
"""

import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.training.contest import Task, Window
from shared.data.catalog import open_dataset
from shared.layout import Volume
from shared.ml.preprocess import training_view
from shared.spec import AugmentSpec

STEPS_PER_EPOCH = 10


def network(classes: int) -> Any:
    """The tutorial network of Keras layers, with TensorFlow's own response normalisation."""

    def normalization() -> Any:
        return keras.layers.Lambda(lambda x: tf.nn.lrn(x, 4, bias=1.0, alpha=0.001 / 9, beta=0.75))

    def normal(deviation: float) -> Any:
        return keras.initializers.TruncatedNormal(stddev=deviation)

    layers = keras.layers
    tenth = keras.initializers.Constant(0.1)
    l2 = keras.regularizers.L2(0.002)
    return keras.Sequential(
        [
            keras.Input((24, 24, 3)),
            layers.Conv2D(64, 5, padding="same", activation="relu", kernel_initializer=normal(0.05)),
            layers.MaxPooling2D(3, 2, padding="same"),
            normalization(),
            layers.Conv2D(
                64, 5, padding="same", activation="relu", kernel_initializer=normal(0.05), bias_initializer=tenth
            ),
            normalization(),
            layers.MaxPooling2D(3, 2, padding="same"),
            layers.Flatten(),
            layers.Dense(
                384,
                activation="relu",
                kernel_initializer=normal(0.04),
                bias_initializer=tenth,
                kernel_regularizer=l2,
            ),
            layers.Dense(
                192,
                activation="relu",
                kernel_initializer=normal(0.04),
                bias_initializer=tenth,
                kernel_regularizer=l2,
            ),
            layers.Dense(classes, kernel_initializer=normal(1 / 192)),
        ]
    )


def per_image(images: Any, labels: Any, batch_size: int) -> Any:
    """The pipeline as the tutorials write it."""

    def distort(image: Any, label: Any) -> tuple[Any, Any]:
        image = tf.cast(image, tf.float32)
        image = tf.image.random_crop(image, [24, 24, 3])
        image = tf.image.random_flip_left_right(image)
        image = tf.image.random_brightness(image, max_delta=63)
        image = tf.image.random_contrast(image, lower=0.2, upper=1.8)
        return tf.image.per_image_standardization(image), label

    data = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images)).repeat()
    return data.map(distort, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def per_batch(images: Any, labels: Any, batch_size: int) -> Any:
    """The same distortions, of a batch at once."""
    augment = AugmentSpec()

    def distort(step: Any, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        images, labels = batch
        return training_view(images, augment, seed=0, step=step, batch_size=batch_size), labels

    data = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images)).repeat()
    data = data.batch(batch_size, drop_remainder=True).enumerate()
    return data.map(distort, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


class Stopwatch(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes the time at the end of each epoch; what is not asked at each step costs nothing at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Notes the time."""
        self.ends.append(time.time())


def main() -> None:
    """Trains, and writes down the window that was measured."""
    task, kind, result = Task.from_json(Path(sys.argv[1]).read_text()), sys.argv[2], Path(sys.argv[3])
    dataset = open_dataset(task.dataset_spec, volume=Volume(Path(task.volume)))
    images, labels = dataset.train.gather(np.arange(len(dataset.train)))
    data = {"per-image": per_image, "per-batch": per_batch}[kind](images, labels, task.batch_size)
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, int(len(images) / task.batch_size * 350), 0.1, True)
    model = network(len(dataset.classes))
    model.compile(keras.optimizers.SGD(decay), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    stopwatch = Stopwatch()
    steps = task.warmup_steps + task.measured_steps
    model.fit(data, epochs=steps // STEPS_PER_EPOCH, steps_per_epoch=STEPS_PER_EPOCH, verbose=0, callbacks=[stopwatch])
    warm = task.warmup_steps // STEPS_PER_EPOCH
    Window(steps=task.measured_steps, start=stopwatch.ends[warm - 1], end=stopwatch.ends[-1]).write(result)


if __name__ == "__main__":
    main()
