"""What a step would do, looked at without doing it: the spread of gradients, activations and weights.

The network, the losses and the augmentation are those of `services.trainer.step`, in a graph of its own. So the graph
that trains stays as it is, and watching changes no bit of what is trained; it costs a forward and a backward pass.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from services.trainer.loss_scaling import LossScaling
from services.trainer.losses import loss_terms
from shared.data.examples import Images
from shared.data.statistics import ChannelStatistics
from shared.ml.preprocess import training_view
from shared.spec import RunSpec
from shared.summaries import Histogram

BUCKETS = 30
PICTURES = 3

# The columns of a tensor's figures, before the counts of its buckets.
_LOW, _HIGH, _TOTAL, _SQUARES, _ZEROS, _COUNTS = range(6)

Figures = npt.NDArray[np.float64]


class Inspector:
    """Looks at what a network makes of a batch.

    Args:
        spec: The run.
        model: The network. Only read: moving statistics stay as they are.
        trainable: Its trainable weights, by name.
        scaling: Of the loss, as in a step; only read.
        image_shape: Height, width and channels of the pictures in a batch.
        statistics: Of the training split; needed for `standardize: dataset` alone.
    """

    def __init__(
        self,
        *,
        spec: RunSpec,
        model: Any,
        trainable: Mapping[str, Any],
        scaling: LossScaling,
        image_shape: tuple[int, int, int],
        statistics: ChannelStatistics | None,
    ) -> None:
        self._spec = spec
        self._model = model
        self._trainable = dict(trainable)
        self._scaling = scaling
        self._statistics = statistics
        self._layers = watched_layers(model)
        self._inspect = tf.function(
            self._trace,
            input_signature=[
                tf.TensorSpec([spec.batch_size, *image_shape], tf.uint8),
                tf.TensorSpec([spec.batch_size], tf.int32),
                tf.TensorSpec([], tf.int64),
            ],
            autograph=False,
        )

    def inspect(
        self, images: Images, labels: Any, *, step: int
    ) -> tuple[dict[str, Figures], dict[str, Figures], Images]:
        """What the step after `step` others would see and do. Waits for the device.

        Args:
            images: uint8 [batch, height, width, channels].
            labels: int32 [batch].
            step: The number of steps made.

        Returns:
            Figures of each weight's gradient and of each layer's output, by name; a few pictures as the network sees
            them, uint8 [n, height, width, channels].
        """
        gradients, activations, view = self._inspect(images, labels, np.int64(step))
        return (
            dict(zip(self._trainable, gradients.numpy(), strict=True)),
            dict(zip(self._layers or ["logits"], activations.numpy(), strict=True)),
            view.numpy(),
        )

    def weights(self) -> dict[str, Figures]:
        """Figures of each weight as it is, by name."""
        return dict(zip(self._trainable, self._spread().numpy(), strict=True))

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def _spread(self) -> Any:
        return tf.stack([_figures(weight) for weight in self._trainable.values()])

    def _outputs(self, view: Any) -> list[Any]:
        """The logits, then what is watched: each layer's output, or, if those cannot be had, the logits again."""
        if not self._layers:
            return [self._model(view, training=True)] * 2
        watched = keras.Model(self._model.inputs, [self._model.outputs[0], *self._layers.values()])
        return list(watched(view, training=True))

    def _trace(self, images: Any, labels: Any, step: Any) -> Any:
        spec = self._spec
        view = training_view(
            images, spec.augment, self._statistics, seed=spec.seed, step=step, batch_size=spec.batch_size
        )
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(self._trainable.values()))
            values = [(variable, variable.value) for variable in self._model.trainable_variables]
            # Within the scope nothing is assigned: batch normalisation's statistics move with training alone.
            with keras.StatelessScope(state_mapping=values):
                logits, *activations = self._outputs(view)
                terms = loss_terms(self._model, logits, labels, smoothing=spec.optimizer.label_smoothing)
            loss = self._scaling.scaled(tf.add_n(terms))
        gradients = self._scaling.unscaled(tape.gradient(loss, self._trainable))
        return (
            tf.stack([_figures(gradient) for gradient in gradients.values()]),
            tf.stack([_figures(activation) for activation in activations]),
            _shown(view[:PICTURES]),
        )


def watched_layers(model: Any) -> dict[str, Any]:
    """The symbolic output of each layer that computes something, by the layer's name.

    Empty for a network that is a class of its own: Keras does not know what its layers are called with.
    """
    rearranging = (keras.layers.InputLayer, keras.layers.Flatten, keras.layers.Reshape)
    if not getattr(model, "inputs", None):
        return {}
    return {
        layer.name: layer.output
        for layer in model.layers
        if not isinstance(layer, rearranging) and isinstance(layer.output, keras.KerasTensor)
    }


def histograms(figures: Mapping[str, Figures]) -> dict[str, Histogram]:
    """The histograms in tensors' figures, without tensors that hold something that is not a finite number."""
    return {name: _histogram(row) for name, row in figures.items() if row[_COUNTS:].any()}


def sparsity(figures: Figures) -> float:
    """The share of zeros in a tensor."""
    return float(figures[_ZEROS])


def _histogram(figures: Figures) -> Histogram:
    low, high, total, squares = figures[[_LOW, _HIGH, _TOTAL, _SQUARES]].tolist()
    return Histogram(low=low, high=high, total=total, squares=squares, counts=figures[_COUNTS:])


def _figures(tensor: Any) -> Any:
    values = tf.reshape(tf.cast(tensor, tf.float32), [-1])
    low, high = tf.reduce_min(values), tf.reduce_max(values)
    total, squares = tf.reduce_sum(values), tf.reduce_sum(tf.square(values))
    zeros = tf.reduce_mean(tf.cast(tf.equal(values, 0.0), tf.float32))
    counts = tf.cond(
        # The sum is finite only if every value is; a number that is none has no bucket.
        tf.math.is_finite(total) & tf.math.is_finite(high - low),
        lambda: _count(values, low, high),
        lambda: tf.zeros([BUCKETS], tf.int32),
    )
    head = tf.cast(tf.stack([low, high, total, squares, zeros]), tf.float64)
    return tf.concat([head, tf.cast(counts, tf.float64)], axis=0)


def _count(values: Any, low: Any, high: Any) -> Any:
    # Some five times as fast as `tf.histogram_fixed_width`, which also refuses a tensor of equal values.
    scale = tf.math.divide_no_nan(np.float32(BUCKETS), high - low)
    places = tf.minimum(tf.cast((values - low) * scale, tf.int32), BUCKETS - 1)
    return tf.math.bincount(places, minlength=BUCKETS, maxlength=BUCKETS)


def _shown(view: Any) -> Any:
    """Stretches the brightness of each picture over the whole scale, as uint8."""
    low = tf.reduce_min(view, axis=[1, 2, 3], keepdims=True)
    high = tf.reduce_max(view, axis=[1, 2, 3], keepdims=True)
    return tf.cast(tf.round(tf.math.divide_no_nan(255.0 * (view - low), high - low)), tf.uint8)
