"""From uint8 pictures to what the network sees: distorted for training, plain for evaluation and export.

Everything works on whole batches. The distortion of a picture is a pure function of (seed, step, position in the
global batch), whichever part of the batch is asked for, so nothing of it needs saving and a batch may be split. The
evaluation view is made of plain slicing and arithmetic, so that it can be exported together with the network.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import tensorflow as tf

from shared.data.statistics import ChannelStatistics
from shared.errors import SpecError
from shared.spec import AugmentSpec


def view_shape(augment: AugmentSpec, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of a picture as the network sees it: [crop, crop, channels], or the whole picture.

    Raises:
        SpecError: The crop, the padding or the square that is cut out is too large for the pictures.
    """
    height, width, channels = image_shape
    if augment.pad >= min(height, width):
        raise SpecError(
            f"is {augment.pad}; pictures of {height} x {width} can be padded by reflection by less than their side",
            where="augment.pad",
        )
    if augment.crop is not None and augment.crop > min(height, width):
        raise SpecError(f"is {augment.crop}, and the pictures are {height} x {width}", where="augment.crop")
    rows, columns = (height, width) if augment.crop is None else (augment.crop, augment.crop)
    if augment.cutout >= min(rows, columns):
        raise SpecError(f"is {augment.cutout}, and the network sees {rows} x {columns}", where="augment.cutout")
    return rows, columns, channels


def evaluation_view(images: Any, augment: AugmentSpec, statistics: ChannelStatistics | None = None) -> Any:
    """What the network sees of pictures when it is judged or serves: the central crop, standardised.

    Args:
        images: uint8 [n, height, width, channels]; n may be unknown.
        augment: `crop` and `standardize` are used.
        statistics: Of the training split; needed for `standardize: dataset` alone.

    Returns:
        float32 [n, crop, crop, channels].
    """
    height, width, _ = view_shape(augment, tuple(images.shape[1:]))
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    view = tf.cast(images[:, top : top + height, left : left + width, :], tf.float32)
    return standardize(view, augment, statistics)


def training_view(
    images: Any,
    augment: AugmentSpec,
    statistics: ChannelStatistics | None = None,
    *,
    seed: int,
    step: Any,
    batch_size: int,
    first: Any = 0,
) -> Any:
    """What the network sees of pictures when it learns: distorted at random, standardised, and a square greyed.

    Flips that alternate are not made here but by who makes the batches, since they go by examples and epochs.

    Args:
        images: uint8 [n, height, width, channels], at positions `first` to `first` + n - 1 of the global batch.
        augment: The distortion.
        statistics: Of the training split; needed for `standardize: dataset` alone.
        seed: The run's seed.
        step: The number of steps made before this one; a number or an int64 scalar.
        batch_size: Of the global batch.
        first: The position of the first picture; a number or an int32 scalar.

    Returns:
        float32 [n, crop, crop, channels].
    """
    draws = RandomDraws.draw(seed=seed, step=step, batch_size=batch_size).part(first, tf.shape(images)[0])
    return cutout(standardize(distort(images, augment, draws), augment, statistics), augment, draws)


@dataclass(frozen=True)
class RandomDraws:
    """The random numbers of a batch, one row a picture: float32 [n], uniform in [0, 1)."""

    top: Any
    left: Any
    flip: Any
    brightness: Any
    contrast: Any
    cut_top: Any
    cut_left: Any

    @classmethod
    def draw(cls, *, seed: int, step: Any, batch_size: int) -> "RandomDraws":
        """The numbers of a whole global batch, a function of the arguments alone, the same on every device."""
        key = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)])
        # The generator fills row by row: whoever adds a row at the end leaves those before it as they were.
        rows = len(fields(cls))
        return cls(*tf.unstack(tf.random.stateless_uniform([rows, batch_size], key, alg="philox")))

    def part(self, first: Any, count: Any) -> "RandomDraws":
        """The numbers of `count` pictures from position `first` on."""
        return RandomDraws(*(getattr(self, field.name)[first : first + count] for field in fields(self)))


def distort(images: Any, augment: AugmentSpec, draws: RandomDraws) -> Any:
    """Random crop out of the padded picture, mirroring, brightness and contrast, in this order; nothing is clipped.

    Args:
        images: uint8 [n, height, width, channels].
        augment: Which distortions, and how strong.
        draws: The random numbers, n of each.

    Returns:
        float32 [n, crop, crop, channels] on the scale 0-255, and beyond it.
    """
    height, width, channels = images.shape[1:]
    rows, columns, _ = view_shape(augment, (height, width, channels))
    pad = augment.pad
    row = _offsets(draws.top, height + 2 * pad - rows)[:, None] + np.arange(rows, dtype=np.int32) - pad
    column = np.broadcast_to(np.arange(columns, dtype=np.int32), (1, columns))
    if augment.flip is True:
        column = tf.where(draws.flip[:, None] < 0.5, column[:, ::-1], column)
    column = _offsets(draws.left, width + 2 * pad - columns)[:, None] + column - pad
    # One gather does padding, cropping and mirroring: each pixel's place is worked out, then fetched once.
    place = _reflect(row, height)[:, :, None] * width + _reflect(column, width)[:, None, :]
    pixels = tf.reshape(images, [-1, height * width, channels])
    view = tf.cast(tf.gather(pixels, place, batch_dims=1), tf.float32)
    if augment.brightness:
        view += _between(draws.brightness, -augment.brightness, augment.brightness)
    if augment.contrast is not None:
        # (view - mean) * factor + mean, in an order that touches the pixels twice instead of three times.
        factor = _between(draws.contrast, *augment.contrast)
        view = view * factor + (1 - factor) * _channel_means(view)
    return view


def standardize(view: Any, augment: AugmentSpec, statistics: ChannelStatistics | None = None) -> Any:
    """Mean 0 and deviation 1: of each picture (`tf.image.per_image_standardization`), or by the data set's figures.

    Args:
        view: float32 [n, height, width, channels] on the scale 0-255.
        augment: `standardize` is used.
        statistics: Of the training split; needed for `standardize: dataset` alone.
    """
    if augment.standardize == "dataset":
        if statistics is None:
            raise SpecError("dataset needs the statistics of the training split", where="augment.standardize")
        return (view - np.asarray(statistics.mean, np.float32)) / np.asarray(statistics.deviation, np.float32)
    # Rows of one picture each, since kernels for two axes are faster than those for four.
    size = int(np.prod(view.shape[1:]))
    rows = tf.reshape(view, [-1, size])
    centred = rows - tf.reduce_mean(rows, axis=1, keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(centred), axis=1, keepdims=True))
    # A picture of one colour has no deviation: the floor keeps it at zero instead of dividing by nothing.
    floor = np.float32(size**-0.5)
    return tf.reshape(centred / tf.maximum(deviation, floor), [-1, *view.shape[1:]])


def cutout(view: Any, augment: AugmentSpec, draws: RandomDraws) -> Any:
    """Sets a square of each picture to zero, which is grey once it is standardised (Cutout, DeVries and Taylor 2017).

    The square lies within the picture and is `cutout` wide, wherever it lies: what is hidden is the same each time.

    Args:
        view: float32 [n, height, width, channels].
        augment: `cutout` is used.
        draws: The random numbers, n of each.
    """
    side = augment.cutout
    if not side:
        return view
    height, width = view.shape[1:3]

    def shown(draw: Any, length: int) -> Any:
        start = _offsets(draw, length - side)[:, None]
        place = np.arange(length, dtype=np.int32)
        return (place < start) | (place >= start + side)

    kept = shown(draws.cut_top, height)[:, :, None] | shown(draws.cut_left, width)[:, None, :]
    return tf.where(kept[..., None], view, 0.0)


def _channel_means(view: Any) -> Any:
    # Over the rows first: summing over three interleaved channels at once has no vectorised kernel.
    return tf.reduce_mean(tf.reduce_mean(view, axis=1, keepdims=True), axis=2, keepdims=True)


def _offsets(draw: Any, greatest: int) -> Any:
    return tf.cast(draw * np.float32(greatest + 1), tf.int32)


def _reflect(place: Any, length: int) -> Any:
    last = length - 1
    return last - tf.abs(last - tf.abs(place))


def _between(draw: Any, low: float, high: float) -> Any:
    return (low + draw * (high - low))[:, None, None, None]
