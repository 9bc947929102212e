"""Batch normalisation's statistics taken anew for given weights, from batches of the training split.

An average of weights carries an average of the statistics that each step's own weights had, which are not the
statistics of the averaged network (P. Izmailov et al., UAI 2018, section 3.2). Here they are the means, over batches,
of each batch's mean and variance under these very weights.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from services.evaluator.judging import AbandonedError
from shared.ml.models.layers import FusedBatchNormalization


@dataclass(frozen=True)
class Statistic:
    """One moving statistic: its variable, and the share of itself that it keeps with each batch."""

    variable: Any
    momentum: float


def moving_statistics(model: Any) -> tuple[Statistic, ...]:
    """The moving means and variances of a network's batch normalisation that follow batches at all."""
    kinds = (keras.layers.BatchNormalization, FusedBatchNormalization)
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]
    return tuple(
        Statistic(variable=variable.value, momentum=layer.momentum)
        for layer in layers
        if layer.trainable and layer.momentum < 1
        for variable in (layer.moving_mean, layer.moving_variance)
    )


def recalibrate(
    statistics: Iterable[Statistic],
    learn: Callable[[Any], Any],
    batches: Iterable[Any],
    *,
    wanted: Callable[[], bool],
) -> int:
    """Sets moving statistics to the means of those of some batches.

    Args:
        statistics: What is set.
        learn: Runs the network as in training on float32 views [n, …], which moves the statistics once.
        batches: The views, at least one batch.
        wanted: Asked between batches whether to go on.

    Returns:
        How many pictures there were.

    Raises:
        AbandonedError: `wanted` said no.
    """
    statistics = tuple(statistics)
    sums: list[Any] = [0.0] * len(statistics)
    count = examples = 0
    for views in batches:
        if not wanted():
            raise AbandonedError
        for each in statistics:
            each.variable.assign(tf.zeros_like(each.variable))
        learn(views)
        # From zero one step goes the share 1 - momentum of the way to the batch's own statistic.
        sums = [
            total + each.variable.numpy().astype(np.float64) / (1 - each.momentum)
            for total, each in zip(sums, statistics, strict=True)
        ]
        count, examples = count + 1, examples + len(views)
    for total, each in zip(sums, statistics, strict=True):
        each.variable.assign((total / count).astype(each.variable.dtype.as_numpy_dtype))
    return examples
