"""What a slot offers, found out before it trains: its devices, written to `slots/<slot>/slot.json`."""

from collections.abc import Callable, Mapping
from typing import Literal

from shared import atomic
from shared.errors import SettingsError
from shared.layout import Volume
from shared.records import Device, SlotRecord, write_record

GPU_HINT = (
    "Does nvidia-smi list it here? In a container the engine must hand it over (NVIDIA Container Toolkit), and the "
    "driver must be as new as TensorFlow's CUDA; TANDEM_TRAINER_DEVICE=cpu trains without"
)


def record_slot(
    *,
    volume: Volume,
    slot: str,
    devices: Callable[[], tuple[Device, ...]],
    wanted: Literal["auto", "cpu", "gpu"] = "auto",
    host: str,
    versions: Mapping[str, str],
    time: Callable[[], float],
) -> SlotRecord:
    """Writes down what this slot is: `devices` is asked only once the volume is known to take the answer.

    Raises:
        NotWritableError: The slot's folder cannot be written to.
        SettingsError: A GPU is wanted and TensorFlow sees none; the record says so too.
    """
    folder = volume.slot(slot)
    atomic.probe_writable(folder.root)
    found = devices()
    seen = any(device.kind == "gpu" for device in found)
    problems = () if seen or wanted == "cpu" else (_no_gpu(wanted, versions.get("nvidia_driver")),)
    record = SlotRecord(slot=slot, devices=found, host=host, versions=dict(versions), problems=problems, time=time())
    write_record(folder.record, record)
    if wanted == "gpu" and problems:
        raise SettingsError(problems[0], where="TANDEM_TRAINER_DEVICE", hint=GPU_HINT)
    return record


def _no_gpu(wanted: str, driver: str | None) -> str:
    if driver is not None:
        return f"TensorFlow sees no GPU, though NVIDIA's driver {driver} is there"
    if wanted == "gpu":
        return "TensorFlow sees no GPU, and NVIDIA's driver is not there"
    return "no GPU: training runs on the processor"
