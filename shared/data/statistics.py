"""Mean and deviation of a data set's channels, for `standardize: dataset`."""

import math
from dataclasses import dataclass

import numpy as np

from shared.data.examples import Examples


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and standard deviation of each channel over all pixels of a split, on the scale 0-255."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def channel_statistics(examples: Examples, *, chunk: int = 4096) -> ChannelStatistics:
    """The statistics of a split, which are exact whatever `chunk` is: the sums are made of whole numbers.

    A channel that never varies gets the deviation 1, so that standardising leaves it at zero.
    """
    height, width, channels = examples.image_shape
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(examples), chunk):
        images, _ = examples.gather(np.arange(start, min(start + chunk, len(examples)), dtype=np.int64))
        for channel in range(channels):
            counts[channel] += np.bincount(images[..., channel].reshape(-1), minlength=256)
    pixels = len(examples) * height * width
    means, deviations = [], []
    for count in counts.tolist():
        total = sum(value * times for value, times in enumerate(count))
        squares = sum(value * value * times for value, times in enumerate(count))
        means.append(total / pixels)
        deviations.append(math.sqrt(pixels * squares - total * total) / pixels or 1.0)
    return ChannelStatistics(mean=tuple(means), deviation=tuple(deviations))
