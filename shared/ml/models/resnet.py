"""A small residual network with batch normalisation."""

from typing import Any

import keras

from shared.ml.models.layers import batch_normalization, layer_seed


def small_resnet(
    *,
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
    width: int = 32,
    momentum: float = 0.9,
    logit_scale: float = 0.125,
) -> Any:
    """Nine layers: a convolution, three halving stages of which two end in a residual pair, and scaled linear logits.

    Args:
        image_shape: Height, width and channels of a picture; at least 8 x 8.
        classes: The number of logits.
        seed: The run's seed.
        width: Channels of the first convolution; each stage doubles them.
        momentum: Of the moving statistics of batch normalisation.
        logit_scale: Factor of the logits, which keeps the softmax soft early in training.
    """
    if width < 1:
        raise ValueError(f"width is {width}; at least one channel is needed")
    if min(image_shape[:2]) < 8:
        raise ValueError("it halves the picture three times, which takes at least 8 x 8")

    def block(x: Any, channels: int, name: str) -> Any:
        initial = keras.initializers.HeNormal(seed=layer_seed(seed, name))
        x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, kernel_initializer=initial, name=name)(x)
        x = batch_normalization(momentum=momentum, epsilon=1e-5, name=f"{name}_norm")(x)
        return keras.layers.ReLU(name=f"{name}_relu")(x)

    def stage(x: Any, channels: int, name: str, *, residual: bool) -> Any:
        x = keras.layers.MaxPooling2D(2, name=f"{name}_pool")(block(x, channels, name))
        if residual:
            inner = block(block(x, channels, f"{name}_inner1"), channels, f"{name}_inner2")
            x = keras.layers.Add(name=f"{name}_add")([x, inner])
        return x

    images = keras.Input(image_shape, name="images")
    x = block(images, width, "stem")
    x = stage(x, 2 * width, "stage1", residual=True)
    x = stage(x, 4 * width, "stage2", residual=False)
    x = stage(x, 8 * width, "stage3", residual=True)
    x = keras.layers.GlobalMaxPooling2D(name="pool")(x)
    name = "logits"
    initial = keras.initializers.GlorotUniform(seed=layer_seed(seed, name))
    x = keras.layers.Dense(classes, kernel_initializer=initial, name=name)(x)
    return keras.Model(images, keras.layers.Rescaling(logit_scale, name="scale")(x), name="resnet_small")
