import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.trainer.committer import Committer
from services.trainer.divergence import DivergenceWatch
from services.trainer.journal import Events
from services.trainer.metrics import TrainerMetrics
from services.trainer.saver import Saver
from shared.checkpoints import CheckpointStore
from shared.errors import DivergedError, FencedError, NotWritableError
from shared.layout import RunFolder
from shared.leases import LeaseWatch
from shared.records import Event, Fence, encode_record, read_lines
from shared.retention import Pruner
from tests.faults.shim import Calls, wrapped
from tests.trainer.numpy_engine import NumpyEngine, bytes_of
from tests.trainer.runs import small_spec, tenure_of


class Saving:
    """A saver whose commits can be held up, failed and fenced."""

    def __init__(self, folder: RunFolder, events: Events, metrics: TrainerMetrics) -> None:
        spec = small_spec(steps=1000)
        self.folder = folder
        self.engine = NumpyEngine(spec)
        self.store = CheckpointStore(folder)
        self.metrics = metrics
        self.gate = threading.Event()
        self.gate.set()
        self.guard: Callable[[], None] = lambda: None
        self.committed: list[int] = []
        self.now = 0.0
        self.committer = Committer(
            store=self.store,
            pruner=Pruner(
                folder=folder,
                store=self.store,
                spec=spec,
                final=lambda: 1000,
                leases=LeaseWatch(clock=lambda: 0.0, expiry=60),
                on_remove=lambda step: None,
            ),
            spec=spec,
            fence=1,
            dataset_fingerprint="f",
            numerics={},
            guard=self._guard,
            events=events,
            metrics=metrics,
            clock=lambda: self.now,
            time=lambda: 0.0,
        )
        self.saver = Saver(
            source=self.engine,
            committer=self.committer,
            committed=None,
            patience=0.05,
            check=DivergenceWatch(rule=spec.on_divergence, classes=3).check,
            on_commit=self.committed.append,
            events=events,
            metrics=metrics,
            clock=lambda: self.now,
            wait=self._wait,
        )

    def _guard(self) -> None:
        assert self.gate.wait(10)
        self.guard()

    def _wait(self, seconds: float) -> None:
        self.now += seconds

    def events(self, kind: str) -> list[Event]:
        return [event for _, event in read_lines(self.folder.trainer_events, Event) if event.kind == kind]


@pytest.fixture
def saving(folder: RunFolder, events: Events, metrics: TrainerMetrics):
    made = Saving(folder, events, metrics)
    yield made
    made.gate.set()
    made.saver.close()


def value(metric: object) -> float:
    return metric._value.get()  # type: ignore[attr-defined]


def test_what_is_committed_is_the_weights_at_the_time_of_saving(saving: Saving) -> None:
    saving.gate.clear()
    before = bytes_of(saving.engine.snapshot())
    saving.saver.save(10, 0.0)
    saving.engine._weights += 1.0  # training goes on while the thread writes
    saving.gate.set()
    saving.saver.finish(0, within=0)

    checkpoint = saving.store.open(10)
    assert bytes_of({kind: checkpoint.load(kind) for kind in ("raw", "ema-0.9999", "optimizer")}) == before
    assert saving.committed == [10]


def test_a_checkpoint_that_is_due_while_the_last_is_still_written_is_left_out_and_told(saving: Saving) -> None:
    saving.gate.clear()
    saving.saver.save(10, 0.0)
    saving.saver.save(20, 0.0)
    saving.gate.set()
    saving.saver.finish(0, within=0)

    assert saving.store.steps() == [10]
    assert [event.step for event in saving.events("checkpoint_skipped")] == [20]
    assert value(saving.metrics.skips) == 1


def test_f05_a_full_disk_is_counted_logged_once_and_forgotten_when_it_has_room_again(
    saving: Saving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", failing_in_checkpoints(os.write))
        for step in (10, 20, 30):
            saving.saver.save(step, 0.0)
            saving.saver.finish(0, within=0)
    assert saving.store.steps() == []
    assert list(saving.folder.checkpoints.iterdir()) == []  # nothing half-written stays
    assert value(saving.metrics.failures) == 3
    assert [event.step for event in saving.events("checkpoint_failed")] == [10, 20, 30]
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1

    saving.saver.save(40, 0.0)
    saving.saver.finish(0, within=0)

    assert saving.store.steps() == [40]


def test_the_last_checkpoint_is_tried_again_until_it_must_be_given_up(
    saving: Saving, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", failing_in_checkpoints(os.write))
        with pytest.raises(NotWritableError, match="checkpoint at step 10 could not be written: No space left"):
            saving.saver.finish(10, within=3.0)
    assert 3.0 <= saving.now < 4.0

    saving.saver.finish(10, within=3.0)
    assert saving.store.steps() == [10]


def test_the_last_checkpoint_is_not_written_twice(saving: Saving) -> None:
    saving.saver.save(10, 0.0)
    saving.saver.finish(10, within=0)

    assert saving.committed == [10]


def test_f26_weights_that_are_no_numbers_are_never_committed_and_stop_the_training(saving: Saving) -> None:
    saving.saver.save(10, 0.0)
    saving.saver.finish(10, within=0)
    saving.engine.spoil()
    saving.saver.save(20, 0.0)

    with pytest.raises(DivergedError, match="raw kernel is not finite"):
        saving.saver.finish(20, within=0)
    assert saving.store.steps() == [10]


def test_f26_a_loss_that_is_no_number_is_never_committed(saving: Saving) -> None:
    saving.engine._losses = np.array([np.inf, 0.0])

    with pytest.raises(DivergedError, match="the loss is inf"):
        saving.saver.finish(10, within=0)
    assert saving.store.steps() == []


def test_a_trainer_that_was_taken_over_commits_nothing_and_is_told_at_the_next_check(saving: Saving) -> None:
    def fenced() -> None:
        raise FencedError("another trainer has taken over")

    saving.guard = fenced
    saving.saver.save(10, 0.0)

    with pytest.raises(FencedError):
        saving.saver.finish(0, within=0)
    assert saving.store.steps() == []
    assert list(saving.folder.checkpoints.iterdir()) == []


def failing_in_checkpoints(original: Callable[[int, bytes], int]) -> Callable[[int, bytes], int]:
    def write(descriptor: int, data: bytes) -> int:
        if "/checkpoints/" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(descriptor, data)

    return write


def test_f18_a_commit_is_given_up_whenever_another_trainer_takes_over_while_it_is_written(saving: Saving) -> None:
    tenure = tenure_of(saving.folder, fence=1)
    tenure.acquire(takeover_seconds=10)
    saving.guard = tenure.check
    mine = saving.folder.fence.read_bytes()
    other = encode_record(Fence(fence=2, token="b", slot="b", pid=2, host="here", time=0.0))

    def put(fence: bytes) -> None:
        new = saving.folder.fence.with_suffix(".new")
        new.write_bytes(fence)
        new.replace(saving.folder.fence)

    def commit(step: int, *, taken_over_at: int | None = None) -> list[str]:
        def take_over(number: int, _name: str) -> None:
            if number == taken_over_at:  # as while the trainer was frozen there
                put(other)

        with wrapped(Calls(saving.folder.root, take_over)) as calls:
            saving.committer.commit(step=step, groups=saving.engine.snapshot(), loss=1.0)
        return calls.made

    commit(1)  # which makes the folder for all of them
    whole = commit(2)
    # What comes after the last look is the sync of the folder, which is opened and closed for it, and the rename.
    moments = range(1, whole.index("rename") - 2)
    assert len(moments) > 15
    for number in moments:
        put(mine)
        with pytest.raises(FencedError, match=r"slot b .* has taken over with fence 2"):
            commit(2 + number, taken_over_at=number)
        assert sorted(entry.name for entry in saving.folder.checkpoints.iterdir()) == ["1", "2"]
