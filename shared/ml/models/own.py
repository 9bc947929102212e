"""Networks of the operator's own: `my_module:build` names a function on the import path.

A spec may come from anyone who can reach the gateway, and importing a module runs its code. So only modules that the
operator's setting TANDEM_MODEL_MODULES names are imported; an entry allows that module and those below it. The contract
of such a function is in `docs/custom-models.md`.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from shared.errors import SpecError

SETTING = "TANDEM_MODEL_MODULES"


def find_factory(name: str, *, allowed: Sequence[str]) -> Callable[..., Any]:
    """The function that `name` names.

    Args:
        name: `module:function`; the module may be dotted.
        allowed: The modules that may be imported.

    Raises:
        SpecError: The module is not allowed or cannot be imported, or has no such function.
    """
    module_name, _, function_name = name.partition(":")
    if not any(module_name == entry or module_name.startswith(f"{entry}.") for entry in allowed):
        raise SpecError(
            f"the module {module_name!r} is not one that networks may come from",
            where="model.name",
            hint=f"The operator names such modules in {SETTING}, for trainer and evaluator"
            f" (now: {', '.join(allowed) or 'none'})",
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module may raise whatever it likes
        raise SpecError(
            f"the module {module_name!r} cannot be imported: {type(error).__name__}: {error}",
            where="model.name",
            hint="It must be on the import path of trainer and evaluator (installed there, or in PYTHONPATH)",
        ) from error
    factory = getattr(module, function_name, None)
    if not callable(factory):
        file = getattr(module, "__file__", None) or "built in"
        raise SpecError(f"the module {module_name!r} ({file}) has no function {function_name!r}", where="model.name")
    found: Callable[..., Any] = factory
    return found


def build_own(
    name: str,
    factory: Callable[..., Any],
    *,
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
    options: dict[str, Any],
) -> Any:
    """Calls a factory and makes sure that what it returns keeps to the contract.

    Keras numbers layers without a name, and draws initial weights without a seed, by counters of the process. Both are
    set back first, so that trainer and evaluator give weights the same names, and a seed gives the same weights.

    Raises:
        SpecError: The factory raises, or returns something else than a network of this shape; names the function.
    """
    policy = keras.config.dtype_policy()
    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed)
    try:
        model = factory(image_shape=image_shape, classes=classes, seed=seed, **options)
    except Exception as error:  # a factory may raise whatever it likes
        raise _broken(name, f"raised {type(error).__name__}: {error}") from error
    if not isinstance(model, keras.Model):
        raise _broken(name, f"returned {type(model).__name__}, not a keras.Model")
    try:
        answers = model(np.zeros((2, *image_shape), np.float32), training=False)
    except Exception as error:
        raise _broken(
            name, f"returned a network that cannot be called with float32 {['n', *image_shape]}: {error}"
        ) from error
    shape = tuple(getattr(answers, "shape", ()))
    if shape != (2, classes):
        raise _broken(
            name, f"returned a network whose answer to 2 pictures is of shape {list(shape)}, not [2, {classes}]"
        )
    paths = [variable.path for variable in model.weights]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise _broken(name, f"returned a network with two weights called {twice[0]}; give layers names of their own")
    if not model.trainable_variables:
        raise _broken(name, "returned a network without trainable weights")
    return model


def _broken(name: str, what: str) -> SpecError:
    module, _, function = name.partition(":")
    return SpecError(
        f"{function} of module {module} {what}", where="model", hint="docs/custom-models.md has the contract"
    )
