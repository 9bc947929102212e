"""What must hold at the end of a soak, looked at on the volume alone."""

from pathlib import Path

from shared.checkpoints import Checkpoint, CheckpointStore, read_spec
from shared.layout import RunFolder, Volume, listed_steps
from shared.records import Event, TrainerStatus, Verdict, read_lines, read_record

BAD_EVENTS = {"corrupt", "failed", "checkpoint_quarantined", "diverged"}


def troubles_of_run(folder: RunFolder, reference: Checkpoint, *, readers: int) -> list[str]:
    """What is wrong with a run that should be complete and judged, and have kept only what `readers` were reading."""
    troubles = []
    spec = read_spec(folder)
    status = read_record(folder.status, TrainerStatus)
    if status.phase != "completed" or status.step != spec.steps:
        troubles.append(f"its phase is {status.phase} at step {status.step} of {spec.steps}")
    store = CheckpointStore(folder)
    steps = store.steps()
    if steps[-1:] != [spec.steps] or len(steps) > 1 + readers:
        troubles.append(f"its checkpoints are at {steps}")
    for step in steps:
        store.open(step).verify()
    troubles += [
        f"{name} is not that of an undisturbed run" for name in _different(folder.checkpoint(spec.steps), reference)
    ]
    for step in steps:
        for kind in spec.weights_kinds:
            if not folder.verdict(step, kind).exists():
                troubles.append(f"there is no verdict on {kind} at step {step}")
    for step in listed_steps(folder.evaluations):
        for kind in spec.weights_kinds:
            if folder.verdict(step, kind).exists():
                verdict = read_record(folder.verdict(step, kind), Verdict)
                if verdict.status != "judged":
                    troubles.append(f"the verdict on {kind} at step {step} is {verdict.status}: {verdict.problem}")
    told = [event for path in (folder.trainer_events, folder.evaluator_events) for _, event in read_lines(path, Event)]
    troubles += [f"{event.kind} at step {event.step}: {event.message}" for event in told if event.kind in BAD_EVENTS]
    return troubles


def orphans(volume: Volume) -> list[str]:
    """Half-made and half-removed things, and leases, that nobody will remove any more."""
    left = [path for path in volume.root.rglob("*") if path.name.startswith((".tmp-", ".trash-"))]
    left += list(volume.root.glob("runs/*/leases/*.json"))
    return [str(path.relative_to(volume.root)) for path in sorted(left)]


def _different(folder: Path, reference: Checkpoint) -> list[str]:
    return [
        name
        for name in reference.manifest.files
        if not (folder / name).exists() or (folder / name).read_bytes() != (reference.folder / name).read_bytes()
    ]
