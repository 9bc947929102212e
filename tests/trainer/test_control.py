from pathlib import Path

import pytest

from services.trainer.control import Control, Request
from shared.lifecycle import StopEvent
from shared.records import Desired, write_record


class Following:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.stop = StopEvent()
        self.now = 0.0
        self.seen: list[int] = []
        self.control = Control(
            path=path,
            stop=self.stop,
            clock=lambda: self.now,
            poll_seconds=0.25,
            on_change=lambda desired: self.seen.append(desired.generation),
        )

    def want(self, state: str, *, generation: int, pause: str = "release") -> None:
        write_record(self.path, Desired(generation=generation, state=state, pause=pause, time=0.0))

    def later(self) -> Request | None:
        self.now += 0.3
        return self.control.request()


@pytest.fixture
def following(tmp_path: Path) -> Following:
    return Following(tmp_path / "desired.json")


def test_a_run_without_a_word_is_trained(following: Following) -> None:
    assert following.control.request() is None


@pytest.mark.parametrize(
    ("state", "pause", "request_"),
    [
        ("running", "release", None),
        ("paused", "hold", Request.HOLD),
        ("paused", "release", Request.RELEASE),
        ("stopped", "release", Request.STOP),
    ],
)
def test_each_word_asks_for_its_own(following: Following, state: str, pause: str, request_: Request | None) -> None:
    following.want(state, generation=1, pause=pause)

    assert following.control.request() is request_
    assert following.seen == [1]


def test_the_file_is_looked_at_once_a_poll(following: Following) -> None:
    assert following.control.request() is None
    following.want("stopped", generation=1)

    assert following.control.request() is None
    assert following.later() is Request.STOP


def test_each_generation_is_told_once(following: Following) -> None:
    following.want("paused", generation=1, pause="hold")
    assert [following.later(), following.later()] == [Request.HOLD, Request.HOLD]
    following.want("running", generation=2)

    assert following.later() is None
    assert following.seen == [1, 2]


def test_a_signal_releases_at_once_though_the_run_is_to_hold(following: Following) -> None:
    following.want("paused", generation=1, pause="hold")
    assert following.control.request() is Request.HOLD

    following.stop.set()

    assert following.control.request() is Request.RELEASE


def test_a_stop_for_good_that_came_just_before_the_signal_is_seen(following: Following) -> None:
    assert following.control.request() is None
    following.want("stopped", generation=4)
    following.stop.set()

    assert following.control.request() is Request.STOP


def test_a_word_that_cannot_be_read_changes_nothing_and_is_logged_once(
    following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    following.want("paused", generation=1, pause="hold")
    assert following.later() is Request.HOLD
    following.path.write_bytes(b'{"generation": 2, "state"')

    assert [following.later(), following.later(), following.later()] == [Request.HOLD] * 3
    assert len(caplog.records) == 1
