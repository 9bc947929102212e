"""`shapes`: ten classes of coloured 32x32 pictures from a generator, so that everything can be tried without files.

Each picture shows one figure on a shaded, noisy ground: of any colour that differs enough from the ground's, turned by
any angle, of varying size and place. So no pixel tells the class, and a linear model on pixels stays far below a small
convolutional network. Picture i of a split depends on (seed, split, i) alone; a longer split begins with the shorter.

The figures are signed distance functions: negative inside, in units of the figure's radius
(https://iquilezles.org/articles/distfunctions2d/ explains the technique).
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.data.cache import ArrayCache, Contents
from shared.data.digests import fingerprint
from shared.data.examples import Dataset, Images, Labels
from shared.spec import DatasetSpec

GENERATOR = 1  # another number whenever the pictures change
SIDE = 32
CHUNK = 1_000

Plane = npt.NDArray[Any]  # float32 [n, 32, 32]


def _disc(x: Plane, y: Plane) -> Plane:
    return np.hypot(x, y) - np.float32(0.85)


def _ring(x: Plane, y: Plane) -> Plane:
    return np.abs(np.hypot(x, y) - np.float32(0.72)) - np.float32(0.2)


def _square(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(0.75)


def _frame(x: Plane, y: Plane) -> Plane:
    return np.abs(np.maximum(np.abs(x), np.abs(y)) - np.float32(0.62)) - np.float32(0.18)


def _triangle(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.abs(x) * np.float32(0.866) + y * np.float32(0.5), -y) - np.float32(0.5)


def _plus(x: Plane, y: Plane) -> Plane:
    x, y = np.abs(x), np.abs(y)
    cross: Plane = np.maximum(np.maximum(x, y) - np.float32(0.95), np.minimum(x, y) - np.float32(0.27))
    return cross


def _star(x: Plane, y: Plane) -> Plane:
    # Five points: the radius of the outline runs linearly between tip and notch over each tenth of the turn.
    turn = np.arctan2(y, x) * np.float32(5 / (2 * np.pi))
    away = np.abs(turn - np.round(turn)) * np.float32(2)
    outline = np.float32(1.05) - np.float32(0.68) * away
    star: Plane = (np.hypot(x, y) - outline) * np.float32(0.7)
    return star


def _crescent(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.hypot(x, y) - np.float32(0.95), np.float32(0.75) - np.hypot(x - np.float32(0.5), y))


def _bars(x: Plane, y: Plane) -> Plane:
    across = np.abs(np.abs(x) - np.float32(0.52)) - np.float32(0.24)
    return np.maximum(across, np.abs(y) - np.float32(0.85))


def _dots(x: Plane, y: Plane) -> Plane:
    return np.hypot(np.abs(x) - np.float32(0.55), np.abs(y) - np.float32(0.55)) - np.float32(0.33)


FIGURES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "frame": _frame,
    "triangle": _triangle,
    "plus": _plus,
    "star": _star,
    "crescent": _crescent,
    "bars": _bars,
    "dots": _dots,
}
CLASSES = tuple(FIGURES)


def open_shapes(spec: DatasetSpec, *, cache: ArrayCache) -> Dataset:
    """The data set that `spec` asks for, generated once and then mapped from `cache`."""
    figures = {"generator": GENERATOR, "seed": spec.seed, "train": spec.train_examples, "test": spec.test_examples}
    digest = fingerprint("shapes", figures)

    def build() -> Contents:
        train = generate(seed=spec.seed, split=0, examples=spec.train_examples)
        test = generate(seed=spec.seed, split=1, examples=spec.test_examples)
        return Contents(kind="shapes", classes=CLASSES, image_shape=(SIDE, SIDE, 3), train=train, test=test)

    entry = cache.open(f"shapes-{digest[:32]}", build)
    return Dataset(kind="shapes", classes=CLASSES, train=entry.train, test=entry.test, fingerprint=digest)


def generate(*, seed: int, split: int, examples: int) -> Iterator[tuple[Images, Labels]]:
    """The pictures of one split, in chunks.

    Args:
        seed: Decides all of them.
        split: 0 for training, 1 for testing: independent of each other.
        examples: How many.

    Yields:
        uint8 [n, 32, 32, 3] and int32 [n], n ≤ 1,000; the ten classes equally often in each whole chunk.
    """
    for begin in range(0, examples, CHUNK):
        # Only uniform doubles are drawn, whose stream NumPy has never changed for this bit generator.
        uniform = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, split, begin // CHUNK]))).random
        labels = np.argsort(uniform(CHUNK), kind="stable") % len(CLASSES)
        images = _draw(labels, uniform)
        kept = min(CHUNK, examples - begin)
        yield images[:kept], labels[:kept].astype(np.int32)


def _draw(labels: npt.NDArray[np.integer], uniform: Callable[..., npt.NDArray[np.float64]]) -> Images:
    count = len(labels)

    def between(low: float, high: float, *shape: int) -> npt.NDArray[np.float32]:
        return (low + (high - low) * uniform((count, *shape))).astype(np.float32)

    angle, radius = between(0, 2 * np.pi, 1, 1), between(6.5, 10.5, 1, 1)
    # Near enough to the centre that the central 24x24 pixels, which evaluation sees, show most of each figure.
    middle = (SIDE - 1) / 2
    shift_x, shift_y = between(-3.5, 3.5, 1, 1), between(-3.5, 3.5, 1, 1)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) - np.float32(middle)
    x, y = (columns - shift_x) / radius, (rows - shift_y) / radius
    turned_x, turned_y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)

    cover = np.empty((count, SIDE, SIDE), np.float32)
    for label, figure in enumerate(FIGURES.values()):
        chosen = labels == label
        cover[chosen] = figure(turned_x[chosen], turned_y[chosen])
    cover = np.clip(np.float32(0.5) - cover * radius, 0, 1)[..., np.newaxis]  # one pixel of soft edge

    ground = between(30, 225, 3)
    # The figure's colour keeps a distance from the ground's, in a random direction and folded back into the range.
    direction = between(-1, 1, 3)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), np.float32(1e-3))
    colour = ground + direction * between(70, 150, 1)
    colour = np.where((colour < 0) | (colour > 255), ground - (colour - ground), colour)
    slope = between(-1.5, 1.5, 2, 3)
    shade = rows[..., np.newaxis] * slope[:, np.newaxis, np.newaxis, 0] + (
        columns[..., np.newaxis] * slope[:, np.newaxis, np.newaxis, 1]
    )
    pictures = ground[:, np.newaxis, np.newaxis] + shade
    pictures += cover * (colour[:, np.newaxis, np.newaxis] - pictures)
    pictures += between(-28, 28, SIDE, SIDE, 3)
    pixels: Images = np.clip(np.rint(pictures), 0, 255).astype(np.uint8)
    return pixels
