"""What a slot offers, found out before it trains: its devices, written to `slots/<slot>/slot.json`."""

from collections.abc import Callable, Mapping

from shared import atomic
from shared.layout import Volume
from shared.records import Device, SlotRecord, write_record


def record_slot(
    *,
    volume: Volume,
    slot: str,
    devices: Callable[[], tuple[Device, ...]],
    host: str,
    versions: Mapping[str, str],
    time: Callable[[], float],
) -> SlotRecord:
    """Writes down what this slot is: `devices` is asked only once the volume is known to take the answer.

    Raises:
        NotWritableError: The slot's folder cannot be written to.
    """
    folder = volume.slot(slot)
    atomic.probe_writable(folder.root)
    found = devices()
    problems = () if any(device.kind == "gpu" for device in found) else ("no GPU: training runs on the processor",)
    record = SlotRecord(slot=slot, devices=found, host=host, versions=dict(versions), problems=problems, time=time())
    write_record(folder.record, record)
    return record
