"""The network of TensorFlow's CIFAR-10 tutorial."""

from typing import Any

import keras

from shared.ml.models.layers import LocalResponseNormalization, PooledConvolution, layer_seed


def tutorial(*, image_shape: tuple[int, int, int], classes: int, seed: int, l2: float = 0.004) -> Any:
    """Two convolutions with max-pooling and local response normalisation, two dense layers, linear logits.

    Args:
        image_shape: Height, width and channels of a picture; the tutorial's is (24, 24, 3).
        classes: The number of logits.
        seed: The run's seed.
        l2: Factor of ½‖w‖² in the loss, for the kernels of `local3` and `local4`.
    """

    def dense(name: str, units: int) -> Any:
        return keras.layers.Dense(
            units,
            activation="relu",
            kernel_regularizer=keras.regularizers.L2(l2 / 2) if l2 else None,
            **_beginning(seed, name, deviation=0.04, bias=0.1),
        )

    images = keras.Input(image_shape, name="images")
    x = PooledConvolution(filters=64, **_beginning(seed, "conv1", deviation=0.05, bias=0.0))(images)
    x = _normalization("norm1")(x)
    beginning = _beginning(seed, "conv2", deviation=0.05, bias=0.1)
    x = keras.layers.Conv2D(64, 5, padding="same", activation="relu", **beginning)(x)
    x = _normalization("norm2")(x)
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="pool2")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = dense("local3", 384)(x)
    x = dense("local4", 192)(x)
    logits = keras.layers.Dense(classes, **_beginning(seed, "softmax_linear", deviation=1 / 192, bias=0.0))(x)
    return keras.Model(images, logits, name="tutorial")


def _beginning(seed: int, name: str, *, deviation: float, bias: float) -> dict[str, Any]:
    return {
        "name": name,
        "kernel_initializer": keras.initializers.TruncatedNormal(stddev=deviation, seed=layer_seed(seed, name)),
        "bias_initializer": keras.initializers.Constant(bias),
    }


def _normalization(name: str) -> Any:
    return LocalResponseNormalization(radius=4, bias=1.0, alpha=0.001 / 9, name=name)
