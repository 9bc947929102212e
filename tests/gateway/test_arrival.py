"""When a run counts as being copied."""

import time
from pathlib import Path

import pytest

from services.gateway.arrival import BEGUN_SECONDS, STILL_SECONDS, arriving, trainable_later
from shared.layout import RunFolder, Volume
from shared.records import write_record
from shared.spec import RunSpec

ELSEWHERE = "20200101-000000-a-0001"


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


@pytest.fixture
def copied(volume: Volume) -> RunFolder:
    folder = volume.run(ELSEWHERE)
    write_record(folder.spec, RunSpec(name="a"))
    return folder


def test_a_run_that_came_from_elsewhere_arrives_until_nothing_of_it_has_changed_for_a_while(copied: RunFolder) -> None:
    now = time.time()
    for seen in (arriving, trainable_later):
        assert seen(copied, now=now)
        assert seen(copied, now=now + STILL_SECONDS - 5)
        assert not seen(copied, now=now + STILL_SECONDS + 1)


def test_no_copy_is_waited_for_for_ever(copied: RunFolder) -> None:
    late = time.time() + BEGUN_SECONDS + 1
    assert not arriving(copied, now=late)
    assert not trainable_later(copied, now=late)


def test_a_run_that_was_made_here_does_not_arrive(volume: Volume) -> None:
    folder = volume.run(f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-a-0001")
    write_record(folder.spec, RunSpec(name="a"))
    assert not arriving(folder, now=time.time())
    assert not trainable_later(folder, now=time.time())


def test_a_clock_that_is_behind_the_file_systems_makes_nobody_wait(copied: RunFolder) -> None:
    assert not arriving(copied, now=5.0)


def test_what_is_no_run_does_not_arrive(volume: Volume) -> None:
    assert not arriving(volume.run(ELSEWHERE), now=time.time())


def test_what_evaluators_write_holds_up_no_trainer(copied: RunFolder) -> None:
    begun = copied.spec.stat().st_ctime
    while time.time() < begun + 0.1:
        pass
    now = begun + STILL_SECONDS + 0.05  # to which what is written from here on is less than half a minute ago
    assert not arriving(copied, now=now)
    for path, holds_up in ((copied.verdict(10, "raw"), False), (copied.checkpoint(10) / ".raw.safetensors.Xy12", True)):
        path.parent.mkdir(parents=True)
        path.touch()
        assert arriving(copied, now=now)
        assert trainable_later(copied, now=now) == holds_up
