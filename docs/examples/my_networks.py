"""A network of one's own: what a function that a run names as `my_networks:separable` looks like."""

from typing import Any

import keras


def separable(
    *, image_shape: tuple[int, int, int], classes: int, seed: int, width: int = 16, dropout: float = 0.1
) -> keras.Model:
    """Three stages of depthwise separable convolutions, with dropout before the logits.

    Args:
        image_shape: Height, width and channels of an image, standardised, as the network sees it.
        classes: How many logits it answers with.
        seed: The run's; layers that are given none draw from Keras' generator, which has been seeded with it.
        width: Channels of the first stage; `model.options.width` in a recipe.
        dropout: Share of features left out in training; `model.options.dropout`.
    """

    def stage(x: Any, channels: int, name: str) -> Any:
        x = keras.layers.SeparableConv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_convolution")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        return keras.layers.MaxPooling2D(2, padding="same", name=f"{name}_pool")(x)

    images = keras.Input(image_shape, name="images")
    x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="stem")(images)
    for number in (1, 2, 3):
        x = stage(x, width * 2**number, f"stage{number}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(images, keras.layers.Dense(classes, name="logits")(x), name="separable")
