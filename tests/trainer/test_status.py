import errno
import os
import time

import pytest

from services.trainer.status import Heartbeat
from shared.errors import FencedError
from shared.layout import RunFolder
from shared.records import TrainerStatus, read_record
from tests.statuses import trainer_status


def heartbeat_of(folder: RunFolder, *, guard=lambda: None, interval: float = 3600.0, lost: list[int] | None = None):
    status = trainer_status(folder.id, phase="starting", step=0, steps=10, beat=0)
    lost = [] if lost is None else lost
    return Heartbeat(
        path=folder.status,
        status=status,
        guard=guard,
        interval=interval,
        time=lambda: 5.0,
        on_loss=lambda: lost.append(1),
    )


def seen(folder: RunFolder) -> TrainerStatus:
    return read_record(folder.status, TrainerStatus)


def test_a_change_of_phase_is_seen_at_once_and_other_changes_with_the_next_beat(folder: RunFolder) -> None:
    heartbeat = heartbeat_of(folder)
    heartbeat.start()
    heartbeat.update(step=3)
    assert seen(folder).step == 0

    heartbeat.tell(phase="running")

    assert (seen(folder).phase, seen(folder).step, seen(folder).time) == ("running", 3, 5.0)
    heartbeat.close()


def test_it_beats_while_nobody_says_anything(folder: RunFolder) -> None:
    heartbeat = heartbeat_of(folder, interval=0.01)
    heartbeat.start()
    deadline = time.monotonic() + 10
    while seen(folder).beat < 5:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    heartbeat.close()


def test_the_count_goes_on_where_the_predecessor_stopped(folder: RunFolder) -> None:
    first = heartbeat_of(folder)
    first.start()
    first.beat()
    first.close()
    before = seen(folder).beat

    second = heartbeat_of(folder)
    second.start()
    second.close()

    assert seen(folder).beat == before + 1


def test_a_trainer_that_was_taken_over_leaves_the_status_to_its_successor(folder: RunFolder) -> None:
    successor = heartbeat_of(folder)
    successor.start()
    successor.close()

    def fenced() -> None:
        raise FencedError("another trainer has taken over")

    old = heartbeat_of(folder, guard=fenced)
    old.start()
    old.tell(phase="failed")
    old.close()

    assert (seen(folder).phase, seen(folder).beat) == ("starting", 1)


def test_a_disk_that_is_full_for_a_while_costs_beats_and_one_line_of_log(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost: list[int] = []
    heartbeat = heartbeat_of(folder, lost=lost)
    heartbeat.start()

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        heartbeat.beat()
        heartbeat.beat()
    assert (seen(folder).beat, len(lost), len(caplog.records)) == (1, 2, 1)

    heartbeat.beat()
    heartbeat.close()

    assert seen(folder).beat == 4
