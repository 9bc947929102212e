"""What must hold at the end of a soak, looked at on the volume alone."""

from collections.abc import Iterator
from typing import Any

from benchmarks.soak.schedule import DEATHS
from shared.answers import read_answers
from shared.checkpoints import CheckpointStore, read_spec
from shared.layout import RunFolder, Volume, listed_steps
from shared.records import Event, SeriesPoint, TrainerStatus, Verdict, read_lines, read_record

BAD_EVENTS = {"corrupt", "failed", "checkpoint_quarantined", "diverged"}


def troubles_of_run(folder: RunFolder, undisturbed: RunFolder, *, readers: int) -> list[str]:
    """What is wrong with a run that should be complete and judged, and have kept only what `readers` were reading.

    Args:
        folder: The run.
        undisturbed: One of the same specification that nothing happened to.
        readers: How many evaluators there were. Each may have had a checkpoint in hand at the run's last commit, and
            have died a moment before with another one, whose lease had not yet expired: those stay.
    """
    troubles = []
    spec = read_spec(folder)
    status = read_record(folder.status, TrainerStatus)
    if status.phase != "completed" or status.step != spec.steps:
        troubles.append(f"its phase is {status.phase} at step {status.step} of {spec.steps}")
    store = CheckpointStore(folder)
    steps = store.steps()
    if steps[-1:] != [spec.steps] or len(steps) > 1 + 2 * readers:
        troubles.append(f"its checkpoints are at {steps}")
    for step in steps:
        store.open(step).verify()
    troubles += [f"{name} is not that of an undisturbed run" for name in _different(folder, undisturbed, spec.steps)]
    if (mine := _series(folder)) != (expected := _series(undisturbed)):
        differing = sorted(step for step in mine | expected if mine.get(step) != expected.get(step))
        troubles.append(f"its series is not that of an undisturbed run at steps {differing}")
    for kind in spec.weights_kinds:
        troubles += [
            f"there is no verdict on {kind} at step {step}" for step in steps if not folder.verdict(step, kind).exists()
        ]
        troubles += _bad_verdicts(folder, kind)
        if _judgement(folder, spec.steps, kind) != _judgement(undisturbed, spec.steps, kind):
            troubles.append(f"the last verdict on {kind} is not that on an undisturbed run")
    told = [event for path in (folder.trainer_events, folder.evaluator_events) for _, event in read_lines(path, Event)]
    troubles += [f"{event.kind} at step {event.step}: {event.message}" for event in told if event.kind in BAD_EVENTS]
    for _, event in read_lines(folder.gateway_events, Event):
        if event.kind == "ended" and event.details["exit_code"] not in (None, *DEATHS):  # None: not its own child
            troubles.append(f"nobody asked for it: {event.message}")
    return troubles


def orphans(volume: Volume) -> list[str]:
    """Half-made and half-removed things, and leases, that nobody will remove any more."""
    left = [path for path in volume.root.rglob("*") if path.name.startswith((".tmp-", ".trash-"))]
    left += list(volume.root.glob("runs/*/leases/*.json"))
    return [str(path.relative_to(volume.root)) for path in sorted(left)]


def _different(folder: RunFolder, undisturbed: RunFolder, step: int) -> list[str]:
    reference = CheckpointStore(undisturbed).open(step)
    mine = folder.checkpoint(step)
    return [
        name
        for name in reference.manifest.files
        if not (mine / name).exists() or (mine / name).read_bytes() != (reference.folder / name).read_bytes()
    ]


def _series(folder: RunFolder) -> dict[int, tuple[float, ...]]:
    """What was measured at each logged step; of a step that was computed twice, what was measured last."""
    points = [point for _, point in read_lines(folder.series, SeriesPoint)]
    return {point.step: (point.loss, point.cross_entropy, point.average_loss, point.learning_rate) for point in points}


def _bad_verdicts(folder: RunFolder, kind: str) -> Iterator[str]:
    for step in listed_steps(folder.evaluations):
        path = folder.verdict(step, kind)
        if path.exists() and (verdict := read_record(path, Verdict)).status != "judged":
            yield f"the verdict on {kind} at step {step} is {verdict.status}: {verdict.problem}"


def _judgement(folder: RunFolder, step: int, kind: str) -> dict[str, Any] | None:
    """What a verdict says of the weights; not who said it, when, and after which other."""
    path = folder.verdict(step, kind)
    if not path.exists():
        return None
    verdict = read_record(path, Verdict)
    said = [] if verdict.answers is None else read_answers(folder, kind, verdict).predicted.tolist()
    figures = verdict.model_dump(include={"examples", "precision_at_1", "precision_at_k", "loss", "confusion"})
    return figures | {"predicted": said}
