"""What TensorFlow computes with here: the devices it sees, and all that decides the last bits of its results."""

import os
import platform
from collections.abc import Sequence
from typing import Literal

import keras
import tensorflow as tf

from shared.devices import INTER_THREADS, INTRA_THREADS, ONEDNN, processor_features
from shared.errors import SettingsError
from shared.records import Device
from shared.spec import Precision


def visible_devices() -> tuple[Device, ...]:
    """Every device that TensorFlow sees, GPUs first, under the names that a spec's `devices` uses: `GPU:0`, `CPU:0`.

    A device that is divided into logical ones counts as that many. Nothing is initialised by asking.
    """
    devices = []
    for kind in ("GPU", "CPU"):
        number = 0
        for device in tf.config.list_physical_devices(kind):
            details = tf.config.experimental.get_device_details(device)
            description = str(details.get("device_name", platform.processor() or platform.machine()))
            for _ in tf.config.get_logical_device_configuration(device) or [None]:
                devices.append(Device(name=f"{kind}:{number}", kind=kind.lower(), description=description))
                number += 1
    return tuple(devices)


def device_names() -> tuple[str, ...]:
    """The names of all devices, GPUs first."""
    return tuple(device.name for device in visible_devices())


def fitting_precision(wanted: Precision | Literal["auto"], *, names: Sequence[str], features: str) -> Precision:
    """The precision that `auto` stands for here; any other one is as it was wanted.

    Without instructions for it, bfloat16 is put together from others and several times as slow as float32.

    Args:
        wanted: Of the spec.
        names: The devices that share the work.
        features: The processor's newest vector instructions, as `shared.devices.processor_features` tells.
    """
    if wanted != "auto":
        return wanted
    processor = all(name.startswith("CPU") for name in names)
    return "mixed_bfloat16" if processor and features == "avx512_bf16" else "float32"


def divide_processor(count: int) -> None:
    """Divides the processor into logical devices, so that training on several can be tried where there is no GPU.

    Raises:
        SettingsError: TensorFlow has computed something already.
    """
    try:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError as error:
        raise SettingsError(str(error), where="TANDEM_TRAINER_LOGICAL_DEVICES") from error


def numerics(names: Sequence[str]) -> dict[str, str]:
    """Versions, devices, kernels and threads. Equal figures are needed, and enough, for equal bits.

    Args:
        names: The devices that share the work.
    """
    first = next(device for device in visible_devices() if device.name == names[0])
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "device": first.kind,
        "devices": " ".join(names),
        "device_description": first.description,
        "processor_features": processor_features(),
        "onednn": os.environ.get(ONEDNN, "default"),
        "intra_op_threads": os.environ.get(INTRA_THREADS, "default"),
        "inter_op_threads": os.environ.get(INTER_THREADS, "default"),
    }
