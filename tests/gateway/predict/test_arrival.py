"""When a run counts as being copied."""

import time

import pytest

from services.gateway.predict.arrival import BEGUN_SECONDS, STILL_SECONDS, arriving
from shared.layout import RunFolder

ELSEWHERE = "20200101-000000-a-0001"


@pytest.fixture
def copied(models) -> RunFolder:
    models.export(ELSEWHERE, 10)
    return models.volume.run(ELSEWHERE)


def test_a_run_that_came_from_elsewhere_arrives_until_nothing_of_it_has_changed_for_a_while(copied: RunFolder) -> None:
    now = time.time()
    assert arriving(copied, now=now)
    assert arriving(copied, now=now + STILL_SECONDS - 5)
    assert not arriving(copied, now=now + STILL_SECONDS + 1)


def test_no_copy_is_waited_for_for_ever(copied: RunFolder) -> None:
    assert not arriving(copied, now=time.time() + BEGUN_SECONDS + 1)


def test_a_run_that_was_made_here_does_not_arrive(models) -> None:
    run = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-a-0001"
    models.export(run, 10)
    assert not arriving(models.volume.run(run), now=time.time())


def test_a_clock_that_is_behind_the_file_systems_makes_nobody_wait(copied: RunFolder) -> None:
    assert not arriving(copied, now=5.0)


def test_what_is_no_run_does_not_arrive(models) -> None:
    assert not arriving(models.volume.run(ELSEWHERE), now=time.time())
