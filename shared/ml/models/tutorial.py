"""The network of TensorFlow's CIFAR-10 tutorial."""

from typing import Any

import keras

from shared.ml.models.layers import LocalResponseNormalization, layer_seed


def tutorial(*, image_shape: tuple[int, int, int], classes: int, seed: int, l2: float = 0.004) -> Any:
    """Two convolutions with max-pooling and local response normalisation, two dense layers, linear logits.

    Args:
        image_shape: Height, width and channels of a picture; the tutorial's is (24, 24, 3).
        classes: The number of logits.
        seed: The run's seed.
        l2: Factor of ½‖w‖² in the loss, for the kernels of `local3` and `local4`.
    """

    def convolution(name: str, *, bias: float) -> Any:
        return keras.layers.Conv2D(
            64, 5, padding="same", activation="relu", name=name, **_initial(seed, name, deviation=0.05, bias=bias)
        )

    def dense(name: str, units: int) -> Any:
        return keras.layers.Dense(
            units,
            activation="relu",
            kernel_regularizer=keras.regularizers.L2(l2 / 2) if l2 else None,
            name=name,
            **_initial(seed, name, deviation=0.04, bias=0.1),
        )

    images = keras.Input(image_shape, name="images")
    x = convolution("conv1", bias=0.0)(images)
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    x = _normalization("norm1")(x)
    x = convolution("conv2", bias=0.1)(x)
    x = _normalization("norm2")(x)
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="pool2")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = dense("local3", 384)(x)
    x = dense("local4", 192)(x)
    name = "softmax_linear"
    logits = keras.layers.Dense(classes, name=name, **_initial(seed, name, deviation=1 / 192, bias=0.0))(x)
    return keras.Model(images, logits, name="tutorial")


def _initial(seed: int, layer: str, *, deviation: float, bias: float) -> dict[str, Any]:
    return {
        "kernel_initializer": keras.initializers.TruncatedNormal(stddev=deviation, seed=layer_seed(seed, layer)),
        "bias_initializer": keras.initializers.Constant(bias),
    }


def _normalization(name: str) -> Any:
    return LocalResponseNormalization(radius=4, bias=1.0, alpha=0.001 / 9, name=name)
