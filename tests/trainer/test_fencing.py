from collections.abc import Callable

import pytest

from services.trainer.fencing import Tenure
from shared.errors import ConflictError, FencedError
from shared.layout import RunFolder
from shared.records import Fence, read_record, write_record
from tests.statuses import trainer_status
from tests.trainer.runs import tenure_of


class Time:
    """A clock that only waiting moves on; `meanwhile` happens during each wait."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.now = 0.0
        self._meanwhile = meanwhile

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self._meanwhile()
        return False


def patient(folder: RunFolder, *, fence: int | None, slot: str = "b", time: Time | None = None) -> Tenure:
    time = time or Time()
    return tenure_of(folder, fence=fence, slot=slot, clock=time.clock, wait=time.wait)


def beat(folder: RunFolder, number: int) -> None:
    write_record(folder.status, trainer_status(folder.id, slot="a", beat=number))


def test_the_first_trainer_writes_who_it_is(folder: RunFolder) -> None:
    tenure = tenure_of(folder, fence=3)
    tenure.acquire(takeover_seconds=10)

    fence = read_record(folder.fence, Fence)
    assert (fence.fence, fence.slot, fence.pid, fence.host) == (3, "a", 1, "here")
    tenure.check()


def test_a_second_trainer_is_refused_and_told_who_has_the_run(folder: RunFolder) -> None:
    first = tenure_of(folder, fence=3)
    first.acquire(takeover_seconds=10)

    for fence in (None, 3):
        with pytest.raises(ConflictError, match="slot a, process 1 on here, fence 3"):
            patient(folder, fence=fence).acquire(takeover_seconds=10)
    first.check()


def test_an_assignment_that_has_been_superseded_is_refused(folder: RunFolder) -> None:
    first = tenure_of(folder, fence=3)
    first.acquire(takeover_seconds=10)
    first.release()

    with pytest.raises(ConflictError, match="fence 2, the newest is 3"):
        patient(folder, fence=2).acquire(takeover_seconds=10)


def test_a_released_run_can_be_taken_again_under_the_same_number_or_by_hand(folder: RunFolder) -> None:
    for fence, expected in ((3, 3), (3, 3), (None, 4), (None, 5)):
        tenure = tenure_of(folder, fence=fence)
        tenure.acquire(takeover_seconds=10)
        assert tenure.fence == expected
        tenure.release()


def test_a_holder_whose_heart_beats_is_left_alone_whatever_the_number(folder: RunFolder) -> None:
    first = tenure_of(folder, fence=1)
    first.acquire(takeover_seconds=10)
    beats = iter(range(2, 1000))
    beat(folder, 1)

    with pytest.raises(ConflictError, match="is being trained"):
        patient(folder, fence=2, time=Time(lambda: beat(folder, next(beats)))).acquire(takeover_seconds=10)
    first.check()


def test_f18_a_silent_holder_is_taken_over_by_a_higher_number_and_may_not_commit_any_more(folder: RunFolder) -> None:
    first = tenure_of(folder, fence=1)
    first.acquire(takeover_seconds=10)
    beat(folder, 1)
    time = Time()
    second = patient(folder, fence=2, time=time)

    second.acquire(takeover_seconds=10)

    assert time.now >= 10
    with pytest.raises(FencedError, match=r"slot b .* has taken over with fence 2; this trainer has 1"):
        first.check()
    second.check()


def test_after_a_takeover_a_third_trainer_is_refused_by_the_second(folder: RunFolder) -> None:
    first, second = tenure_of(folder, fence=1), patient(folder, fence=2)
    first.acquire(takeover_seconds=10)
    second.acquire(takeover_seconds=10)
    first.release()  # the old one, woken, ends: what it lets go of is not the second one's lock

    with pytest.raises(ConflictError, match="slot b"):
        patient(folder, fence=None, slot="c").acquire(takeover_seconds=10)


def test_a_holder_that_ends_while_another_waits_hands_over_at_once(folder: RunFolder) -> None:
    first = tenure_of(folder, fence=1)
    first.acquire(takeover_seconds=10)
    time = Time(lambda: first.release() if time.now > 2 else None)
    second = patient(folder, fence=2, time=time)

    second.acquire(takeover_seconds=10)

    assert time.now < 5
    second.check()


def test_a_stop_ends_the_waiting(folder: RunFolder) -> None:
    first = tenure_of(folder, fence=1)
    first.acquire(takeover_seconds=10)
    waits = iter([False] * 15)

    with pytest.raises(ConflictError, match="asked to stop"):
        time = Time()
        tenure_of(
            folder,
            fence=2,
            slot="b",
            clock=time.clock,
            wait=lambda seconds: time.wait(seconds) or next(waits, True),
        ).acquire(takeover_seconds=10)
    first.check()


def test_a_run_that_was_deleted_cannot_be_committed_to(folder: RunFolder) -> None:
    tenure = tenure_of(folder, fence=1)
    tenure.acquire(takeover_seconds=10)
    folder.fence.unlink()

    with pytest.raises(FencedError, match="is gone"):
        tenure.check()
