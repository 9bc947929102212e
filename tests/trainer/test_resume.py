from typing import Any

import pytest

from services.trainer.resume import find_checkpoint, load_groups
from shared.checkpoints import Checkpoint, CheckpointStore, spec_digest
from shared.errors import (
    ConflictError,
    CorruptCheckpointError,
    DatasetCorruptError,
    NoGoodCheckpointError,
    SpecError,
)
from shared.spec import RunSpec
from tests.trainer.numpy_engine import NumpyEngine
from tests.trainer.runs import small_spec

FINGERPRINT = "f" * 64
COSINE = {"kind": "cosine", "initial": 0.1}


def commit(store: CheckpointStore, step: int, spec: RunSpec, *, values: dict[str, Any] | None = None) -> Checkpoint:
    return store.commit(
        step=step,
        fence=1,
        spec_sha256=spec_digest(spec),
        spec=spec.model_dump(mode="json") if values is None else values,
        dataset_fingerprint=FINGERPRINT,
        groups=NumpyEngine(spec).snapshot(),
        time=0.0,
    )


def found(store: CheckpointStore, spec: RunSpec, *, fresh: bool = False, fingerprint: str = FINGERPRINT) -> int | None:
    checkpoint = find_checkpoint(
        store, spec=spec, dataset_fingerprint=fingerprint, fresh=fresh, on_quarantine=lambda step, error: None
    )
    return checkpoint.step if checkpoint else None


def damage(store: CheckpointStore, step: int) -> None:
    path = store.open(step).folder / "raw.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_run_without_checkpoints_begins_at_step_0(store: CheckpointStore) -> None:
    assert found(store, small_spec()) is None


def test_f08_the_newest_good_checkpoint_is_taken_and_damaged_newer_ones_are_moved_away(
    store: CheckpointStore,
) -> None:
    spec = small_spec()
    for step in (10, 20, 30):
        commit(store, step, spec)
    damage(store, 30)
    told = []

    checkpoint = find_checkpoint(
        store,
        spec=spec,
        dataset_fingerprint=FINGERPRINT,
        fresh=False,
        on_quarantine=lambda step, error: told.append((step, type(error))),
    )

    assert checkpoint is not None
    assert checkpoint.step == 20
    assert told == [(30, CorruptCheckpointError)]
    assert store.steps() == [10, 20]


def test_f11_a_run_whose_every_checkpoint_is_damaged_is_never_begun_anew_in_silence(store: CheckpointStore) -> None:
    spec = small_spec()
    commit(store, 10, spec)
    damage(store, 10)

    for _ in range(2):  # the second start finds an empty folder, and must say the same
        with pytest.raises(NoGoodCheckpointError, match="--fresh"):
            found(store, spec)
    assert found(store, spec, fresh=True) is None


def test_a_fresh_start_does_not_bury_a_good_checkpoint(store: CheckpointStore) -> None:
    commit(store, 10, small_spec())

    with pytest.raises(ConflictError, match="good checkpoint at step 10"):
        found(store, small_spec(), fresh=True)


def test_f24_another_specification_is_refused_and_the_difference_is_shown(store: CheckpointStore) -> None:
    commit(store, 10, small_spec())

    with pytest.raises(SpecError) as caught:
        found(store, small_spec(batch_size=9, augment={"flip": False}, precision="mixed_bfloat16"))

    assert "augment.flip: was true, is false; batch_size: was 8, is 9" in caught.value.message
    assert 'precision: was "float32", is "mixed_bfloat16"' in caught.value.message
    assert str(store.open(10).folder) in str(caught.value.where)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 4000},
        {"name": "other", "labels": {"a": "b"}},
        {"cadence": {"log_steps": 1, "checkpoint_steps": 7}},
        {"retention": {"latest": 1}},
        {"dataset": {"path": "/elsewhere"}},
    ],
)
def test_what_changes_no_number_may_change(store: CheckpointStore, changes: dict[str, Any]) -> None:
    commit(store, 10, small_spec())

    assert found(store, small_spec(**changes)) == 10


def test_steps_may_not_change_under_a_rate_whose_course_depends_on_them(store: CheckpointStore) -> None:
    commit(store, 10, small_spec(learning_rate=COSINE))

    assert found(store, small_spec(learning_rate=COSINE)) == 10
    with pytest.raises(SpecError, match="steps: was 40, is 80"):
        found(store, small_spec(learning_rate=COSINE, steps=80))


def test_a_field_that_the_spec_has_gained_since_counts_with_its_default(store: CheckpointStore) -> None:
    spec = small_spec()
    values = spec.model_dump(mode="json")
    del values["optimizer"]["label_smoothing"]
    checkpoint = store.commit(
        step=10,
        fence=1,
        spec_sha256="0" * 64,  # of a release whose spec had fewer fields
        spec=values,
        dataset_fingerprint=FINGERPRINT,
        groups=NumpyEngine(spec).snapshot(),
        time=0.0,
    )

    assert found(store, spec) == checkpoint.step


def test_other_data_are_refused(store: CheckpointStore) -> None:
    commit(store, 10, small_spec())

    with pytest.raises(DatasetCorruptError, match="other data"):
        found(store, small_spec(), fingerprint="e" * 64)


def test_a_checkpoint_without_one_of_the_averages_is_refused_by_name(store: CheckpointStore) -> None:
    checkpoint = commit(store, 10, small_spec())

    with pytest.raises(CorruptCheckpointError, match=r"ema-0\.5"):
        load_groups(checkpoint, spec=small_spec(ema={"decays": [0.9999, 0.5]}))
