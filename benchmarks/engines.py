"""Engines of the trainer, and batches of noise shaped like CIFAR-10 for where it does not matter what pictures show."""

import numpy as np

from services.trainer.engine import Batch, Engine
from shared.data.examples import Dataset
from shared.spec import RunSpec

IMAGE_SHAPE = (32, 32, 3)
CLASSES = 10
EXAMPLES = 50_000


def build(spec: RunSpec, dataset: Dataset | None = None) -> Engine:
    """The engine of a run on a data set, or on noise. Call it once TensorFlow has been told about devices."""
    # TensorFlow reads the environment when it is imported.
    from services.trainer.step import build_engine  # noqa: PLC0415

    return build_engine(
        spec,
        classes=CLASSES if dataset is None else len(dataset.classes),
        image_shape=IMAGE_SHAPE if dataset is None else dataset.train.image_shape,
        train_examples=EXAMPLES if dataset is None else len(dataset.train),
    )


def noise(step: int, *, size: int) -> Batch:
    """The batch of a step: as many pictures of noise, the same at each call."""
    generator = np.random.default_rng(step)
    images = generator.integers(0, 256, (size, *IMAGE_SHAPE), dtype=np.uint8)
    return Batch(step=step, images=images, labels=generator.integers(0, CLASSES, size).astype(np.int32))
