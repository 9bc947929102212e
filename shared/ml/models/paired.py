"""A wide network of few layers: fixed filters first, then stages of two convolutions with a halving between them.

After the shape of Keller Jordan's airbench94 (https://github.com/KellerJordan/cifar10-airbench), which came to it by
search: most of the work happens in wide layers on small pictures, right after each halving. The fixed filters are
those of `slim`.
"""

from typing import Any

import keras

from shared.ml.models.slim import convolution, logits, seen


def paired(
    *,
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
    width: int = 64,
    later_width: int = 256,
    stages: int = 3,
    residual: bool = False,
    momentum: float = 0.6,
    logit_scale: float = 1 / 9,
) -> Any:
    """Fixed filters, stages that each halve the picture, and the greatest of each channel.

    Args:
        image_shape: Height, width and channels of a picture; three channels, and on either side 2 to the power of
            `stages` at least.
        classes: The number of logits.
        seed: The run's seed.
        width: Channels of the first stage.
        later_width: Channels of all later stages.
        stages: How often the picture is halved.
        residual: Whether later stages have a third convolution, around which what the second gave goes on as well.
        momentum: Of the moving statistics of batch normalisation.
        logit_scale: Factor of the logits, which keeps the softmax soft early in training.
    """
    if min(width, later_width, stages) < 1:
        raise ValueError(f"width is {width}, later_width {later_width}, stages {stages}; each is at least 1")
    least = 2**stages
    if min(image_shape[:2]) < least or image_shape[2] != 3:
        raise ValueError(
            f"it halves the picture {stages} times and knows three colours: at least {least} x {least} x 3"
        )
    images = keras.Input(image_shape, name="images")
    x = seen(images, momentum=momentum)
    for stage in range(1, stages + 1):
        channels = width if stage == 1 else later_width
        settings: Any = {"seed": seed, "momentum": momentum, "identity": True}
        x = convolution(x, channels, f"stage{stage}a", halve=True, **settings)
        x = convolution(x, channels, f"stage{stage}b", **settings)
        if residual and stage > 1:
            x = keras.layers.Add(name=f"stage{stage}_add")([x, convolution(x, channels, f"stage{stage}c", **settings)])
    x = keras.layers.GlobalMaxPooling2D(name="greatest")(x)
    x = logits(x, classes, seed=seed, scale=logit_scale)
    return keras.Model(images, x, name="paired")
