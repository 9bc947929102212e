import numpy as np
import pytest

from shared.checkpoints import CheckpointStore, encode_arrays, read_spec, spec_digest
from shared.errors import (
    CorruptCheckpointError,
    CorruptRecordError,
    NoGoodCheckpointError,
    NotFoundError,
    UnknownSchemaError,
)
from shared.layout import MANIFEST, Volume
from shared.records import write_record
from shared.spec import RunSpec

RUN = "20260101-000000-run-0000"


@pytest.fixture
def folder(tmp_path):
    return Volume(tmp_path).run(RUN)


@pytest.fixture
def store(folder):
    return CheckpointStore(folder)


def commit(store, step, **changes):
    groups = {kind: {"w": np.arange(6, dtype=np.float32) + step} for kind in ("raw", "ema-0.9", "optimizer")}
    return store.commit(**{"step": step, "fence": 1, "spec_sha256": "0" * 64, "groups": groups, "time": 0.0, **changes})


def never(step, error):
    raise AssertionError(f"{step}: {error}")


def test_what_was_committed_is_loaded(store):
    written = commit(store, 10)
    read = store.open(10)
    assert read == written
    assert read.manifest.weights == ("raw", "ema-0.9")
    assert np.array_equal(read.load("optimizer")["w"], np.arange(6, dtype=np.float32) + 10)
    read.verify()


def test_equal_arrays_give_equal_bytes_whatever_their_order():
    a, b = np.ones(3, np.float32), np.zeros((2, 2), np.int64)
    assert encode_arrays({"a": a, "b": b}) == encode_arrays({"b": b.T.copy().T, "a": a})


def test_steps_are_listed_in_order_of_number_and_nothing_else_is(store, folder):
    for step in (100, 20, 3):
        commit(store, step)
    (folder.checkpoints / ".tmp-7-1-00").mkdir()
    (folder.checkpoints / "notes").mkdir()
    (folder.checkpoints / "007").mkdir()
    assert store.steps() == [3, 20, 100]


def test_a_run_without_checkpoints_has_no_newest_one(store):
    assert store.newest_good(on_corrupt=never) is None


@pytest.mark.parametrize("name", ["raw.safetensors", "optimizer.safetensors", MANIFEST])
@pytest.mark.parametrize("keep", [0, 1, 0.5, -2, -1])
def test_f09_a_truncated_file_is_one_kind_of_error_and_the_older_step_is_used(store, folder, name, keep):
    if (name, keep) == (MANIFEST, -1):
        keep = -3  # its last byte ends its last line, and nothing is lost with it
    commit(store, 1)
    commit(store, 2)
    path = folder.checkpoint(2) / name
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)] if keep == 0.5 else data[:keep])
    damaged = []
    assert store.newest_good(on_corrupt=lambda step, error: damaged.append((step, type(error)))).step == 1
    assert damaged == [(2, CorruptCheckpointError)]


def test_f08_every_flipped_bit_of_the_weights_is_found(store, folder):
    commit(store, 1)
    path = folder.checkpoint(1) / "raw.safetensors"
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(CorruptCheckpointError, match="digest"):
            store.open(1).load("raw")


def test_a_missing_file_and_a_missing_manifest_are_corruption(store, folder):
    commit(store, 1)
    (folder.checkpoint(1) / "raw.safetensors").unlink()
    with pytest.raises(CorruptCheckpointError, match="missing"):
        store.open(1).verify()
    (folder.checkpoint(1) / MANIFEST).unlink()
    with pytest.raises(CorruptCheckpointError, match="no manifest"):
        store.open(1)


def test_f11_when_all_are_damaged_nobody_starts_anew(store, folder):
    commit(store, 1)
    commit(store, 2)
    for step in (1, 2):
        (folder.checkpoint(step) / "raw.safetensors").write_bytes(b"")
    with pytest.raises(NoGoodCheckpointError):
        store.newest_good(on_corrupt=lambda step, error: None)
    store.quarantine(1)
    store.quarantine(2)
    assert store.steps() == []
    with pytest.raises(NoGoodCheckpointError):
        store.newest_good(on_corrupt=lambda step, error: None)


def test_quarantine_keeps_every_damaged_one(store, folder):
    for _ in range(2):
        commit(store, 5)
        store.quarantine(5)
    assert sorted(path.name for path in folder.quarantine.iterdir()) == ["5", "5.1"]


def test_a_checkpoint_of_another_schema_is_a_named_error_and_never_passed_over(store, folder):
    commit(store, 1)
    commit(store, 2)
    path = folder.checkpoint(2) / MANIFEST
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(UnknownSchemaError, match="99"):
        store.newest_good(on_corrupt=never)


def test_a_checkpoint_under_another_step_is_not_taken_for_its_own(store, folder):
    commit(store, 1)
    folder.checkpoint(1).rename(folder.checkpoint(9))
    with pytest.raises(CorruptCheckpointError, match="step 1"):
        store.open(9)


def test_a_checkpoint_pruned_while_it_is_read_is_not_called_corrupt(store):
    checkpoint = commit(store, 1)
    store.remove(1)
    with pytest.raises(NotFoundError, match="pruned"):
        checkpoint.load("raw")
    with pytest.raises(NotFoundError):
        store.open(1)


def test_what_stops_the_commit_before_the_rename_leaves_nothing(store, folder):
    def fenced():
        raise RuntimeError("fenced")

    with pytest.raises(RuntimeError, match="fenced"):
        commit(store, 1, before_rename=fenced)
    assert list(folder.checkpoints.iterdir()) == []


def test_a_missing_kind_is_named_with_those_that_are_there(store):
    with pytest.raises(NotFoundError, match=r"raw, ema-0\.9"):
        commit(store, 1).load("ema-0.5")


def test_digests_of_specs_follow_their_meaning():
    assert spec_digest(RunSpec()) == spec_digest(RunSpec(seed=0))
    assert spec_digest(RunSpec()) != spec_digest(RunSpec(seed=1))


def test_a_spec_is_read_back_and_a_damaged_one_named(folder):
    with pytest.raises(NotFoundError, match=RUN):
        read_spec(folder)
    write_record(folder.spec, RunSpec(name="mine"))
    assert read_spec(folder) == RunSpec(name="mine")
    folder.spec.write_text("{")
    with pytest.raises(CorruptRecordError, match=r"spec\.json"):
        read_spec(folder)


@pytest.mark.parametrize(
    "damage",
    [
        (b"raw.safetensors", b"raw.safetensorz"),
        (b"raw.safetensors", b"../w.safetensors"),
        (b'"raw",', b'"raw","ema-0.5",'),
        (b"ema-0.9.safetensors", b"ema-x.9.safetensors"),
    ],
)
def test_f10_a_manifest_that_names_other_files_is_damage_and_no_reason_to_begin_anew(store, folder, damage):
    commit(store, 1)
    path = folder.checkpoint(1) / MANIFEST
    data = path.read_bytes()
    assert damage[0] in data
    path.write_bytes(data.replace(*damage, 1))
    with pytest.raises(CorruptCheckpointError, match=r"other files than those of its weights|should match pattern"):
        store.open(1)
    with pytest.raises(NoGoodCheckpointError):
        store.newest_good(on_corrupt=lambda step, error: None)
