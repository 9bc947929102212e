import pytest

from shared.leases import LeaseWatch
from shared.records import Lease, write_record


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(clock):
    return LeaseWatch(clock=clock, expiry=10)


def beat(path, number, token="a"):
    write_record(path, Lease(step=1, owner="e1", token=token, beat=number, time=0))


def test_no_file_is_no_lease(watch, tmp_path):
    assert watch.live(tmp_path / "1.json") is None


def test_a_lease_lives_while_it_beats(watch, clock, tmp_path):
    for number in range(5):
        beat(tmp_path / "1.json", number)
        assert watch.live(tmp_path / "1.json") is not None
        clock.now += 9


def test_f13_a_lease_that_stops_beating_expires(watch, clock, tmp_path):
    beat(tmp_path / "1.json", 1)
    assert watch.live(tmp_path / "1.json") is not None
    clock.now += 10.1
    assert watch.live(tmp_path / "1.json") is None
    beat(tmp_path / "1.json", 0, token="b")  # taken over by another
    assert watch.live(tmp_path / "1.json") is not None


def test_f27_wall_clock_times_in_leases_decide_nothing(watch, clock, tmp_path):
    write_record(tmp_path / "1.json", Lease(step=1, owner="e1", token="a", beat=1, time=-1e9))
    assert watch.live(tmp_path / "1.json") is not None


def test_an_unreadable_lease_protects_nothing(watch, tmp_path):
    (tmp_path / "1.json").write_text("{")
    assert watch.live(tmp_path / "1.json") is None
