"""A slim convolutional network for few minutes on a processor: it looks at pictures through fixed filters first.

After the idea of Keller Jordan's airbench (https://github.com/KellerJordan/cifar10-airbench): a first layer that is not
learnt and hands on decorrelated, equally strong features; few, wide layers; batch normalisation without scales; scaled
logits; convolutions that begin as the identity. Airbench takes the filters from the covariance of the training
pictures. Here they are cosine transforms of small patches in brightness and two opponent colours, which come close to
that for photographs and need no data; batch statistics make them equally strong.
"""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from shared.ml.models.layers import batch_normalization, layer_seed

PATCH = 2


def slim(
    *,
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
    width: int = 64,
    halve_first: bool = True,
    inner: int = 1,
    identity: bool = False,
    momentum: float = 0.6,
    logit_scale: float = 1 / 9,
) -> Any:
    """Fixed filters, then three stages that each halve the picture, and the greatest of each channel.

    Args:
        image_shape: Height, width and channels of a picture; at least 8 x 8, three channels.
        classes: The number of logits.
        seed: The run's seed.
        width: Channels of the first stage; the second has twice, the third three times as many.
        halve_first: Whether the first stage halves the picture in its first convolution, by steps of two, instead of
            after it: a fourth of the work, and less to see.
        inner: Residual pairs of convolutions in the second stage.
        identity: Whether convolutions begin by handing on their input's channels, as far as they have filters.
        momentum: Of the moving statistics of batch normalisation.
        logit_scale: Factor of the logits, which keeps the softmax soft early in training.
    """
    if width < 1 or inner < 0:
        raise ValueError(f"width is {width} and inner {inner}; they are at least 1 and at least 0")
    if min(image_shape[:2]) < 8 or image_shape[2] != 3:
        raise ValueError("it halves the picture three times and knows three colours, which takes at least 8 x 8 x 3")

    def block(x: Any, channels: int, name: str, *, stride: int = 1) -> Any:
        return convolution(x, channels, name, seed=seed, momentum=momentum, identity=identity, stride=stride)

    def pair(x: Any, channels: int, name: str) -> Any:
        within = block(block(x, channels, f"{name}a"), channels, f"{name}b")
        return keras.layers.Add(name=f"{name}_add")([x, within])

    def pool(x: Any, name: str) -> Any:
        return keras.layers.MaxPooling2D(2, name=name)(x)

    images = keras.Input(image_shape, name="images")
    x = seen(images, momentum=momentum)
    x = block(x, width, "conv1", stride=2 if halve_first else 1)
    x = block(x if halve_first else pool(x, "pool0"), width, "conv2")
    x = block(pool(x, "pool1"), 2 * width, "conv3")
    for number in range(1, inner + 1):
        x = pair(x, 2 * width, f"inner{number}")
    x = block(pool(x, "pool2"), 3 * width, "conv4")
    x = keras.layers.GlobalMaxPooling2D(name="greatest")(x)
    return keras.Model(images, logits(x, classes, seed=seed, scale=logit_scale), name="slim")


def convolution(
    x: Any,
    channels: int,
    name: str,
    *,
    seed: int,
    momentum: float,
    identity: bool,
    stride: int = 1,
    halve: bool = False,
) -> Any:
    """A convolution of 3 x 3, batch normalisation without scales, and ReLU.

    Args:
        x: [n, height, width, any number of channels].
        channels: How many it gives.
        name: Of the layer; the others' begin with it.
        seed: The run's seed.
        momentum: Of the moving statistics.
        identity: Whether it begins by handing on its input's channels, as far as it has filters.
        stride: By how many pixels it moves on.
        halve: Whether only the greatest of each 2 x 2 pixels is normalised and goes on.
    """
    initial: Any = keras.initializers.VarianceScaling(
        1 / 3, mode="fan_in", distribution="untruncated_normal", seed=layer_seed(seed, name)
    )
    if identity:
        initial = _beginning_with_identity(initial)
    x = keras.layers.Conv2D(
        channels, 3, strides=stride, padding="same", use_bias=False, kernel_initializer=initial, name=name
    )(x)
    if halve:
        x = keras.layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    x = batch_normalization(momentum=momentum, epsilon=1e-5, scale=False, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def logits(x: Any, classes: int, *, seed: int, scale: float) -> Any:
    """Features [n, channels] to float32 logits [n, classes], made small by `scale`."""
    initial = keras.initializers.VarianceScaling(1 / 3, distribution="uniform", seed=layer_seed(seed, "logits"))
    x = keras.layers.Dense(classes, use_bias=False, kernel_initializer=initial, dtype="float32", name="logits")(x)
    return keras.layers.Rescaling(scale, dtype="float32", name="scale")(x)


def seen(images: Any, *, momentum: float) -> Any:
    """What the fixed filters make of pictures, brought to mean 0 and variance 1, and cut at 0 from either side."""
    filters = patch_filters(PATCH)
    # In float32 whatever the other layers compute in: nothing is gained here, and so few channels are slow in bfloat16.
    dtype = "float32"
    x = keras.layers.Conv2D(
        filters.shape[-1],
        PATCH,
        padding="same",
        use_bias=False,
        kernel_initializer=lambda shape, dtype=None: keras.ops.convert_to_tensor(filters, dtype),
        trainable=False,
        dtype=dtype,
        name="filters",
    )(images)
    x = batch_normalization(
        momentum=momentum, epsilon=1e-4, scale=False, shift=False, dtype=dtype, name="filters_norm"
    )(x)
    opposite = keras.layers.Rescaling(-1.0, dtype=dtype, name="opposite")(x)
    x = keras.layers.Concatenate(dtype=dtype, name="both_signs")([x, opposite])
    return keras.layers.ReLU(dtype=dtype, name="filters_relu")(x)


def _beginning_with_identity(others: Any) -> Any:
    """Kernels [height, width, channels, filters] whose first filters hand on one channel each, as it is."""

    def initial(shape: tuple[int, ...], dtype: Any = None) -> Any:
        kernel = np.array(others(shape), np.float32)
        count = min(shape[2:])
        kernel[..., :count] = 0.0
        kernel[shape[0] // 2, shape[1] // 2, range(count), range(count)] = 1.0
        return keras.ops.convert_to_tensor(kernel, dtype)

    return initial


def patch_filters(size: int) -> npt.NDArray[np.float32]:
    """An orthonormal basis of patches: cosines of each frequency across and down, of each of three colour axes.

    Args:
        size: The side of a patch.

    Returns:
        float32 [size, size, 3, 3 * size²].
    """
    place, frequency = np.arange(size), np.arange(size)[:, None]
    waves = np.cos(np.pi * (place + 0.5) * frequency / size)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    colours = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    colours /= np.linalg.norm(colours, axis=1, keepdims=True)
    filters: npt.NDArray[np.float64] = np.einsum("ai,bj,kc->ijcabk", waves, waves, colours)
    return filters.reshape(size, size, 3, -1).astype(np.float32)
