"""What TensorFlow computes with here: the devices it sees, and all that decides the last bits of its results."""

import os
import platform

import keras
import tensorflow as tf

from shared.devices import INTER_THREADS, INTRA_THREADS, ONEDNN, processor_features
from shared.records import Device


def visible_devices() -> tuple[Device, ...]:
    """Every device that TensorFlow sees, GPUs first."""
    devices = []
    for kind in ("GPU", "CPU"):
        for device in tf.config.list_physical_devices(kind):
            details = tf.config.experimental.get_device_details(device)
            description = str(details.get("device_name", platform.processor() or platform.machine()))
            devices.append(Device(name=device.name, kind=kind.lower(), description=description))
    return tuple(devices)


def numerics() -> dict[str, str]:
    """Versions, device, kernels and threads. Equal figures are needed, and enough, for equal bits."""
    first = visible_devices()[0]
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "device": first.kind,
        "device_description": first.description,
        "processor_features": processor_features(),
        "onednn": os.environ.get(ONEDNN, "default"),
        "intra_op_threads": os.environ.get(INTRA_THREADS, "default"),
        "inter_op_threads": os.environ.get(INTER_THREADS, "default"),
    }
