"""Real processes, small ones: what a launcher sees of them, and what it never does to others."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.gateway.launchers.process import ProcessLauncher
from services.gateway.launchers.procfs import ProcessIdentity, holders
from shared.errors import ConflictError
from shared.layout import Volume
from shared.records import write_record

SLEEPER = "print('awake', flush=True); import time; time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], close_fds=False); " + SLEEPER


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


class Place:
    """A volume, and launchers on it whose trainers run `code`."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "gateway" / "slots"
        self.volume = Volume(root)
        self.now = 0.0
        self.code = SLEEPER
        self.launchers: list[ProcessLauncher] = []

    def launcher(self, *, count: int = 1, log_bytes: int = 1 << 20) -> ProcessLauncher:
        made = ProcessLauncher(
            volume=self.volume,
            command=lambda slot: [sys.executable, "-S", "-c", self.code, slot],
            count=count,
            clock=lambda: self.now,
            log_bytes=log_bytes,
        )
        self.launchers.append(made)
        return made

    def end(self) -> None:
        """Kills whatever is in the slots, and has each launcher reap its own."""
        for launcher in self.launchers:
            for slot in launcher.slots():
                launcher.kill(slot)
                until(lambda launcher=launcher, slot=slot: not launcher.observe(slot).alive)
        for launcher in self.launchers:
            for slot in ("slot-0", "slot-1"):
                launcher.observe(slot)

    def log(self) -> str:
        path = self.folder / "slot-0.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.end()


def test_a_trainer_is_alive_from_its_start_to_its_end_and_its_exit_code_is_known(place: Place) -> None:
    launcher = place.launcher()
    assert not launcher.observe("slot-0").alive
    pid = launcher.start("slot-0")
    assert launcher.observe("slot-0").alive
    assert launcher.observe("slot-0").pid == pid
    until(lambda: "awake" in place.log())
    launcher.stop("slot-0", grace=60)
    seen = until(lambda: None if (seen := launcher.observe("slot-0")).alive else seen)
    assert seen.exit_code == -signal.SIGTERM


def test_a_slot_takes_one_trainer_at_a_time(place: Place) -> None:
    launcher = place.launcher()
    launcher.start("slot-0")
    for other in (launcher, place.launcher()):
        with pytest.raises(ConflictError):
            other.start("slot-0")
    assert len(holders(place.folder / "slot-0.lock")) == 1


def test_a_trainer_lives_in_a_session_of_its_own(place: Place) -> None:
    launcher = place.launcher()
    pid = launcher.start("slot-0")
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[3]) == pid


def test_a_later_launcher_sees_the_trainer_even_if_its_pid_was_never_written_down(place: Place) -> None:
    pid = place.launcher().start("slot-0")
    (place.folder / "slot-0.json").unlink()
    later = place.launcher()
    assert later.observe("slot-0").pid == pid
    assert ProcessIdentity.model_validate_json((place.folder / "slot-0.json").read_bytes()).pid == pid
    later.kill("slot-0")
    until(lambda: not later.observe("slot-0").alive)


def test_a_trainer_that_closes_the_files_it_inherited_is_still_seen(place: Place) -> None:
    place.code = "import os; os.closerange(3, 100); " + SLEEPER
    launcher = place.launcher()
    pid = launcher.start("slot-0")
    until(lambda: "awake" in place.log())
    assert launcher.observe("slot-0").pid == place.launcher().observe("slot-0").pid == pid
    with pytest.raises(ConflictError):
        launcher.start("slot-0")


def test_an_exit_code_is_known_as_soon_as_the_slot_is_free(place: Place) -> None:
    place.code = "raise SystemExit(7)"
    launcher = place.launcher()
    for _ in range(20):
        launcher.start("slot-0")
        seen = until(lambda: None if (seen := launcher.observe("slot-0")).alive else seen)
        assert seen.exit_code == 7


def test_a_stranger_that_has_got_the_pid_is_never_signalled(place: Place) -> None:
    stranger = subprocess.Popen([sys.executable, "-S", "-c", SLEEPER], stdout=subprocess.DEVNULL)
    try:
        identity = until(lambda: ProcessIdentity.of(stranger.pid))
        older = identity.model_copy(update={"began": identity.began - 1})
        write_record(place.folder / "slot-0.json", older)
        (place.folder / "slot-0.lock").touch()
        launcher = place.launcher()
        assert not launcher.observe("slot-0").alive
        launcher.stop("slot-0", grace=0)
        launcher.kill("slot-0")
        assert not older.signal(signal.SIGKILL)
        assert not identity.model_copy(update={"boot": "another"}).signal(signal.SIGKILL)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_is_past_its_grace_is_killed(place: Place) -> None:
    place.code = STUBBORN
    launcher = place.launcher()
    launcher.start("slot-0")
    until(lambda: "awake" in place.log())
    launcher.stop("slot-0", grace=10)
    assert launcher.observe("slot-0").alive
    place.now = 9
    assert launcher.observe("slot-0").alive
    place.now = 11
    seen = until(lambda: None if (seen := launcher.observe("slot-0")).alive else seen)
    assert seen.exit_code == -signal.SIGKILL


def test_stop_signals_once_since_a_second_signal_would_end_it_at_once(place: Place) -> None:
    place.code = (
        "import signal; signal.signal(signal.SIGTERM, lambda *_: print('heard', flush=True)); "
        "print('awake', flush=True)\nwhile True: signal.pause()"
    )
    launcher = place.launcher()
    launcher.start("slot-0")
    until(lambda: "awake" in place.log())
    for _ in range(5):
        launcher.stop("slot-0", grace=60)
        launcher.observe("slot-0")
    until(lambda: "heard" in place.log())
    assert place.log().count("heard") == 1


def test_what_a_dead_trainer_left_behind_is_killed_and_the_slot_is_free(place: Place) -> None:
    place.code = PARENT
    launcher = place.launcher()
    launcher.start("slot-0")
    until(lambda: place.log().count("awake") == 2)
    identity = ProcessIdentity.model_validate_json((place.folder / "slot-0.json").read_bytes())
    identity.signal(signal.SIGKILL)
    until(lambda: not launcher.observe("slot-0").alive)
    assert holders(place.folder / "slot-0.lock") == []


def test_a_slot_that_is_no_longer_configured_is_shown_while_its_trainer_works(place: Place) -> None:
    place.launcher(count=2).start("slot-1")
    fewer = place.launcher(count=1)
    assert fewer.slots() == ["slot-0", "slot-1"]
    assert fewer.observe("slot-1").retired
    fewer.kill("slot-1")
    until(lambda: fewer.slots() == ["slot-0"])


def test_printed_output_is_bounded(place: Place) -> None:
    place.code = "print('x' * 5000, flush=True); " + SLEEPER
    launcher = place.launcher(log_bytes=4096)
    launcher.start("slot-0")
    until(lambda: "awake" in place.log() or not launcher.observe("slot-0").alive)
    launcher.observe("slot-0")
    assert place.log() == ""
    assert "awake" in (place.folder / "slot-0.log.1").read_text()


def test_a_command_that_is_not_there_leaves_the_slot_free(place: Place) -> None:
    launcher = ProcessLauncher(
        volume=place.volume, command=lambda _: ["/nowhere/python"], count=1, clock=lambda: 0.0, log_bytes=1 << 20
    )
    with pytest.raises(FileNotFoundError):
        launcher.start("slot-0")
    assert not launcher.observe("slot-0").alive
