"""A run that begins with another one's checkpoint, trained with the NumPy engine."""

from typing import Any

import pytest

from shared import atomic
from shared.checkpoints import CheckpointStore
from shared.layout import MANIFEST
from shared.records import Origin, Parent, write_record
from shared.spec import RunSpec
from tests.trainer.numpy_engine import bytes_of
from tests.trainer.runs import Trainer, small_spec

KINDS = ("raw", "ema-0.9999", "optimizer")


def fork_of(trainer: Trainer, step: int, spec: RunSpec) -> Trainer:
    """A second run, as the gateway makes one that begins with a checkpoint of the first."""
    made = Trainer(trainer.volume, trainer.volume.run("fork"))
    made.write_spec(spec)
    checkpoint = CheckpointStore(trainer.folder).open(step)
    with atomic.committing(made.folder.initial) as folder:
        for name in (MANIFEST, *checkpoint.manifest.files):
            folder.adopt(name, checkpoint.folder / name)
    parent = Parent(run=trainer.folder.id, step=step, manifest_sha256=checkpoint.manifest_sha256)
    write_record(made.folder.origin, Origin(parent=parent, time=0.0))
    return made


def contents(trainer: Trainer, step: int) -> dict[str, bytes]:
    checkpoint = CheckpointStore(trainer.folder).open(step)
    return bytes_of({kind: checkpoint.load(kind) for kind in KINDS})


@pytest.fixture
def trained(trainer: Trainer) -> Trainer:
    assert trainer.train() == 0
    return trainer


def test_a_fork_with_nothing_changed_ends_with_the_bytes_of_its_parent(trained: Trainer) -> None:
    fork = fork_of(trained, 20, small_spec())
    assert fork.train() == 0
    assert CheckpointStore(fork.folder).steps() == [30, 40]
    assert contents(fork, 40) == contents(trained, 40)


def test_a_fork_says_with_what_it_began(trained: Trainer) -> None:
    fork = fork_of(trained, 20, small_spec())
    fork.train()
    (event,) = fork.events("forked")
    assert (event.step, event.details["run"]) == (20, trained.folder.id)
    assert CheckpointStore(fork.folder).open(30).manifest.run == "fork"


def test_a_fork_needs_its_parent_no_more(trained: Trainer) -> None:
    fork = fork_of(trained, 20, small_spec())
    atomic.remove_folder(trained.folder.root)
    assert fork.train() == 0


def test_a_fork_that_was_interrupted_goes_on_from_its_own_checkpoint(trained: Trainer) -> None:
    fork = fork_of(trained, 20, small_spec())
    fork.settings["trainer_steps_per_call"] = 1
    fork.before_step = lambda step: fork.stop.set() if step == 33 else None
    fork.train()
    fork.stop = type(fork.stop)()
    fork.train()
    assert [event.step for event in fork.events("resumed")] == [34]
    assert contents(fork, 40) == contents(trained, 40)


def test_an_average_that_the_parent_did_not_keep_begins_at_its_weights(trained: Trainer) -> None:
    spec = small_spec(ema={"decays": [0.5]}, learning_rate={"kind": "constant", "rate": 1e-30})
    fork = fork_of(trained, 20, spec)
    fork.train()
    last = CheckpointStore(fork.folder).open(40)
    raw = CheckpointStore(trained.folder).open(20).load("raw")["kernel"]
    assert last.load("ema-0.5")["kernel"] == pytest.approx(raw)


def test_a_fork_with_other_settings_learns_otherwise(trained: Trainer) -> None:
    fork = fork_of(trained, 20, small_spec(learning_rate={"kind": "constant", "rate": 0.01}))
    fork.train()
    assert contents(fork, 40) != contents(trained, 40)


def test_weights_that_do_not_fit_the_network_are_refused_by_name(trained: Trainer) -> None:
    fork = fork_of(trained, 20, small_spec())

    def other(spec: RunSpec, dataset: Any) -> Any:
        engine = Trainer._build(fork, spec, dataset)
        engine._weights = engine._weights[:, :2]
        engine._averages = {kind: array[:, :2] for kind, array in engine._averages.items()}
        return engine

    fork._build = other  # type: ignore[method-assign]
    assert fork.train() == 2
    failure = fork.status().failure
    assert failure is not None
    assert failure["code"] == "bad_spec"
    assert "kernel is 48x3, and should be 48x2" in (failure["message"] or "")


def test_an_initial_checkpoint_that_is_damaged_is_no_beginning(trained: Trainer) -> None:
    fork = fork_of(trained, 20, small_spec())
    path = fork.folder.initial / "raw.safetensors"
    data = bytearray(path.read_bytes())
    path.unlink()
    data[-1] ^= 1
    path.write_bytes(data)
    assert fork.train() == 1
    assert fork.status().failure["code"] == "corrupt_checkpoint"  # type: ignore[index]
