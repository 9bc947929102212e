"""From where a run goes on: its newest good checkpoint, if it was made by the same spec from the same data."""

import json
from collections.abc import Callable

from pydantic import ValidationError

from shared.checkpoints import OPTIMIZER, Arrays, Checkpoint, CheckpointStore, spec_digest, training_values
from shared.differences import differences
from shared.errors import (
    ConflictError,
    CorruptCheckpointError,
    DatasetCorruptError,
    NoGoodCheckpointError,
    SpecError,
    VolumeError,
)
from shared.layout import MANIFEST, SAFETENSORS
from shared.spec import RunSpec


def find_checkpoint(
    store: CheckpointStore,
    *,
    spec: RunSpec,
    dataset_fingerprint: str,
    fresh: bool,
    on_quarantine: Callable[[int, VolumeError], None],
) -> Checkpoint | None:
    """The checkpoint to restore, or None for a run that begins at step 0.

    Args:
        store: The run's checkpoints. Damaged ones are moved into quarantine.
        spec: The run's specification.
        dataset_fingerprint: Of the data set as it is now.
        fresh: Begin at step 0 if no checkpoint is good, which otherwise is an error.
        on_quarantine: Called with the step and what was wrong, after the move.

    Raises:
        NoGoodCheckpointError: There were checkpoints, none is good, and `fresh` was not asked for.
        ConflictError: `fresh` was asked for although one is good.
        SpecError, DatasetCorruptError: Spec or data differ from what it was made with.
        UnknownSchemaError: It was written by another release.
    """

    def quarantine(step: int, error: VolumeError) -> None:
        store.quarantine(step)
        on_quarantine(step, error)

    try:
        checkpoint = store.newest_good(on_corrupt=quarantine)
    except NoGoodCheckpointError as error:
        if fresh:
            return None
        raise NoGoodCheckpointError(
            error.message,
            where=error.where,
            hint="Put one back from a backup, start a new run, or start this one at step 0 with --fresh",
        ) from error
    if checkpoint is None:
        return None
    if fresh:
        raise ConflictError(
            f"has a good checkpoint at step {checkpoint.step}, which a fresh start would bury",
            where=str(checkpoint.folder),
            hint="Leave out --fresh to go on from it, or start a new run",
        )
    _refuse_other_spec(checkpoint, spec)
    if checkpoint.manifest.dataset_fingerprint not in ("", dataset_fingerprint):
        raise DatasetCorruptError(
            f"was trained on other data (fingerprint {checkpoint.manifest.dataset_fingerprint[:16]}…;"
            f" now it is {dataset_fingerprint[:16]}…)",
            where=str(checkpoint.folder / MANIFEST),
            hint="Put the data set back as it was, or start a new run",
        )
    return checkpoint


def load_groups(checkpoint: Checkpoint, *, spec: RunSpec) -> dict[str, Arrays]:
    """All arrays of a checkpoint by kind, for `Engine.restore`.

    Raises:
        CorruptCheckpointError: A kind that the spec names is not among its files.
    """
    kinds = (*spec.weights_kinds, OPTIMIZER)
    missing = [kind for kind in kinds if kind + SAFETENSORS not in checkpoint.manifest.files]
    if missing:
        raise CorruptCheckpointError(f"has no {', '.join(missing)}", where=str(checkpoint.folder / MANIFEST))
    return {kind: checkpoint.load(kind) for kind in kinds}


def _refuse_other_spec(checkpoint: Checkpoint, spec: RunSpec) -> None:
    manifest = checkpoint.manifest
    if manifest.spec_sha256 == spec_digest(spec):
        return
    try:
        # By way of this release's schema, so that a field it has gained since counts with its default.
        before = training_values(RunSpec.model_validate_json(json.dumps(manifest.spec)))
    except ValidationError:
        before = manifest.spec
    found = differences(before, training_values(spec))
    if before and not found:
        return
    raise SpecError(
        "was made by another specification" + (f": {'; '.join(found)}" if before else ""),
        where=str(checkpoint.folder / MANIFEST),
        hint="Put spec.json back as it was, or start a new run (steps alone may be changed, unless the learning"
        " rate's course depends on them)",
    )
