"""What a gateway that was killed while it wrote left on the volume: half-written files, which count for nobody."""

from shared import atomic
from shared.layout import Volume


def remove_leftovers(volume: Volume) -> None:
    """Removes it. Only the gateway that holds the volume's lock may: whatever it finds is a dead one's.

    Trainers and evaluators write other files in some of these folders, which are left to them.
    """
    for folder in (volume.gateway, volume.gateway / "slots", volume.gateway / "webhooks", volume.runs):
        atomic.sweep(folder)
    for run in volume.run_folders():
        atomic.sweep(run.root, of=[file.name for file in (run.desired, run.tags, run.pins, run.aliases)])
    for slot in volume.slot_folders():
        atomic.sweep(slot.root, of=(slot.assignment.name,))
