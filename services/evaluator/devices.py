"""The evaluator never sees a GPU, so that the trainer has all of its memory. Imports no TensorFlow."""

import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from types import ModuleType

from shared.devices import prepare_tensorflow
from shared.errors import SettingsError

_OTHER_MAKERS = {"HIP_VISIBLE_DEVICES": "-1", "ROCR_VISIBLE_DEVICES": "-1"}


def hide_gpus(
    environment: MutableMapping[str, str], *, threads: int, modules: Mapping[str, ModuleType] = sys.modules
) -> None:
    """Prepares TensorFlow for `threads` processors and no GPU, whatever the environment said about GPUs before.

    Raises:
        SettingsError: TensorFlow is imported already, so that this comes too late.
    """
    if "tensorflow" in modules:
        raise SettingsError("TensorFlow was imported before the GPUs were hidden", where="the evaluator's start")
    prepare_tensorflow(environment, device="cpu", threads=threads)
    environment.update(_OTHER_MAKERS)


def refuse_gpus(visible: Callable[[], Sequence[str]]) -> None:
    """Makes sure that hiding worked.

    Args:
        visible: Names the GPUs that TensorFlow sees.

    Raises:
        SettingsError: It sees one.
    """
    names = visible()
    if names:
        raise SettingsError(
            f"TensorFlow sees {', '.join(names)}, and an evaluator must not touch a GPU",
            where="CUDA_VISIBLE_DEVICES",
            hint="Give the evaluator's process or container no GPU; tensorflow-cpu is all it needs",
        )
