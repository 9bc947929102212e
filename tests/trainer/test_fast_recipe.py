import numpy as np

from services.trainer.engine import Batch
from services.trainer.step import build_engine
from shared import recipes
from shared.data.statistics import ChannelStatistics
from shared.spec import overlay, parse_spec

STEPS, BATCH, CLASSES = 40, 64, 4


def coloured(step: int) -> Batch:
    """Noisy pictures in the colour of their class."""
    rng = np.random.default_rng(step)
    labels = rng.integers(0, CLASSES, BATCH)
    colours = np.array([[200, 80, 80], [80, 200, 80], [80, 80, 200], [200, 200, 80]])
    noise = rng.integers(-50, 50, (BATCH, 32, 32, 3))
    images = (colours[labels][:, None, None, :] + noise).astype(np.uint8)
    return Batch(step=step, images=images, labels=labels.astype(np.int32))


def test_the_fast_recipe_learns_from_the_training_split_and_is_judged_by_the_test_split_at_its_end() -> None:
    spec = parse_spec(recipes.load("cifar10-fast"), source="cifar10-fast")
    assert (spec.dataset.kind, spec.dataset.holdout) == ("cifar10", 0)
    assert spec.steps % spec.cadence.checkpoint_steps == 0


def test_the_fast_recipe_learns_within_some_steps() -> None:
    small = {"steps": STEPS, "batch_size": BATCH, "model": {"options": {"width": 8}}, "ema": {"decays": [0.9]}}
    spec = parse_spec(overlay(recipes.load("cifar10-fast"), small), source="cifar10-fast")
    engine = build_engine(
        spec,
        classes=CLASSES,
        image_shape=(32, 32, 3),
        train_examples=1_000,
        statistics=ChannelStatistics(mean=(120.0, 110.0, 100.0), deviation=(60.0, 60.0, 60.0)),
    )
    losses = []
    for step in range(STEPS):
        engine.train([coloured(step)])
        losses.append(engine.losses().cross_entropy)
    # Guessing is at 1.39; with smoothed labels the loss cannot fall below 0.59.
    assert np.mean(losses[-5:]) < 0.8
    assert all(np.isfinite(array).all() for kind in engine.snapshot().values() for array in kind.values())
