"""What is made as small as possible: the cross entropy of the batch, and each weight's decay."""

from typing import Any

import tensorflow as tf


def decayed_weights(model: Any) -> list[Any]:
    """The weights that have a penalty of their own, in the order in which `loss_terms` has them, at its end."""
    return [variable for variable in model.trainable_variables if variable.regularizer is not None]


def loss_terms(model: Any, logits: Any, labels: Any, *, smoothing: float) -> list[Any]:
    """The parts of the total loss, whose sum it is: cross entropy first, penalties of single weights last.

    Args:
        model: The network, whose penalties are those of the call that gave `logits`.
        logits: Floating-point [batch, classes]. From here on everything is float32.
        labels: int32 [batch].
        smoothing: Share of each label that is spread evenly over all classes.
    """
    penalties = (tf.cast(penalty, tf.float32) for penalty in model.losses)
    return [_cross_entropy(tf.cast(logits, tf.float32), labels, smoothing=smoothing), *penalties]


def _cross_entropy(logits: Any, labels: Any, *, smoothing: float) -> Any:
    """The mean over the batch, with the share `smoothing` of each label spread evenly over all classes."""
    if not smoothing:
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, 1 - smoothing + smoothing / classes, smoothing / classes)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits))
