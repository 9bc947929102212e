"""The networks a spec can name, and how one is built from it.

A network is a function of the picture's shape, the number of classes and the run's seed, besides options of its own. It
returns a Keras model from float32 pictures [n, height, width, channels] to float32 logits [n, classes], whose weights
have names like `conv1/kernel`. To add a network, write its function and name it in `NETWORKS`, or keep it in a module
of your own (`shared.ml.models.own`).
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import keras

from shared.errors import SpecError
from shared.ml.models.own import build_own, find_factory
from shared.ml.models.paired import paired
from shared.ml.models.resnet import small_resnet
from shared.ml.models.slim import slim
from shared.ml.models.tutorial import tutorial
from shared.spec import ModelSpec, Precision

NETWORKS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"tutorial": tutorial, "resnet-small": small_resnet, "slim": slim, "paired": paired}
)

_FIXED = ("image_shape", "classes", "seed")


def build_model(
    spec: ModelSpec,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
    own_modules: Sequence[str] = (),
    precision: Precision | None = None,
) -> Any:
    """The network that `spec` names, with fresh weights that are a function of `seed` and each layer's name alone.

    Args:
        spec: The network's name and its options.
        image_shape: Height, width and channels of a picture as the network sees it, after cropping.
        classes: The number of logits.
        seed: The run's seed.
        own_modules: Modules of the operator's that a network may come from.
        precision: What its layers, and so its logits, are computed in; weights are float32. None: Keras's own choice.

    Returns:
        A `keras.Model`.

    Raises:
        SpecError: There is no network of that name, or it has no such option, or the option's value does not fit.
    """
    with _computing_in(precision):
        return _built(spec, image_shape=image_shape, classes=classes, seed=seed, own_modules=own_modules)


@contextmanager
def _computing_in(precision: Precision | None) -> Iterator[None]:
    """Within it layers are made for this precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision or before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _built(
    spec: ModelSpec, *, image_shape: tuple[int, int, int], classes: int, seed: int, own_modules: Sequence[str]
) -> Any:
    if ":" in spec.name:
        factory = find_factory(spec.name, allowed=own_modules)
        _check_options(spec, factory)
        return build_own(
            spec.name, factory, image_shape=image_shape, classes=classes, seed=seed, options=dict(spec.options)
        )
    network = NETWORKS.get(spec.name)
    if network is None:
        raise SpecError(f"there is no network {spec.name!r}", where="model.name", hint=f"Known: {', '.join(NETWORKS)}")
    _check_options(spec, network)
    try:
        return network(image_shape=image_shape, classes=classes, seed=seed, **spec.options)
    except ValueError as error:
        raise SpecError(f"cannot be built for pictures of {image_shape}: {error}", where="model") from error


def _check_options(spec: ModelSpec, network: Callable[..., Any]) -> None:
    parameters = inspect.signature(network).parameters.values()
    defaults = {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.name not in _FIXED and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        defaults = {**dict.fromkeys(spec.options, inspect.Parameter.empty), **defaults}
    for name, value in spec.options.items():
        where = f"model.options.{name}"
        if name not in defaults:
            known = ", ".join(defaults) or "none"
            raise SpecError(f"the network {spec.name} has no option {name!r}", where=where, hint=f"Known: {known}")
        if not _fits(value, defaults[name]):
            expected = type(defaults[name]).__name__
            raise SpecError(f"is {value!r}, which is not of type {expected}", where=where)


def _fits(value: object, default: object) -> bool:
    if default in (None, inspect.Parameter.empty):
        return True
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)
