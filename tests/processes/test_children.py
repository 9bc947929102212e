"""Children are real processes here: kept alive, restarted, stopped in order, killed where they will not stop."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.cli.up.children import Child, ChildError, Supervisor
from services.cli.up.leftovers import MARK, kill_marked, marked, stop_leftovers

SLEEPER = "import time; print('awake', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('awake', flush=True); time.sleep(600)"
DEADLINE = 30.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    made: list[Child] = []

    def child(code: str, *arguments: str, name: str = "sleeper", environment: dict[str, str] | None = None) -> Child:
        command = [sys.executable, "-c", code, *arguments]
        made.append(Child(name=name, command=command, log=tmp_path / f"{name}.log", environment=environment or {}))
        return made[-1]

    yield child
    for one in made:
        one.end()


def awake(child: Child) -> bool:
    return child.log.exists() and "awake" in child.log.read_text()


def test_child_is_asked_and_stops(make: Callable[..., Child]) -> None:
    child = make(SLEEPER)
    supervisor = Supervisor(children=[child], clock=time.monotonic)
    supervisor.start()
    until(lambda: awake(child))
    assert supervisor.check() == []
    assert supervisor.stop(grace=DEADLINE, wait=time.sleep) == []
    assert child.exit_code() == -signal.SIGTERM


def test_child_that_will_not_stop_is_killed_and_named(make: Callable[..., Child]) -> None:
    child = make(STUBBORN)
    supervisor = Supervisor(children=[child], clock=time.monotonic)
    supervisor.start()
    until(lambda: awake(child))
    assert supervisor.stop(grace=0.2, wait=time.sleep) == ["sleeper"]
    assert child.exit_code() == -signal.SIGKILL


def test_dead_child_is_told_of_with_its_last_words_and_started_again(make: Callable[..., Child]) -> None:
    now = 0.0
    child = make("import sys; print('one'); print('no memory left', file=sys.stderr); sys.exit(7)")
    supervisor = Supervisor(children=[child], clock=lambda: now)
    supervisor.start()
    first = child.pid
    until(lambda: not child.alive())
    (line,) = supervisor.check()
    assert "exit code 7" in line and "no memory left" in line and str(child.log) in line and "\n" not in line
    assert supervisor.check() == [] and child.pid == first, "it waits before it starts it again"
    now = 0.5
    supervisor.check()
    assert child.pid != first


def test_child_that_dies_too_often_is_given_up(make: Callable[..., Child]) -> None:
    now = 0.0
    child = make("import sys; sys.exit(7)")
    supervisor = Supervisor(children=[child], clock=lambda: now, limit=2)
    supervisor.start()
    pauses = []
    for _ in range(2):
        until(lambda: not child.alive())
        (line,) = supervisor.check()
        pauses.append(line.rsplit(" in ", 1)[1])
        now += 100
        supervisor.check()
    until(lambda: not child.alive())
    with pytest.raises(ChildError, match="restarted 2 times"):
        supervisor.check()
    assert pauses == ["0.5 s", "1 s"]


def test_old_deaths_are_forgotten_after_a_long_life(make: Callable[..., Child]) -> None:
    now = 0.0
    child = make("import sys; sys.exit(7)")
    supervisor = Supervisor(children=[child], clock=lambda: now, limit=1, steady=60)
    supervisor.start()
    for _ in range(4):
        until(lambda: not child.alive())
        now += 100
        assert supervisor.check()
        now += 100
        supervisor.check()


def test_child_with_bad_input_is_not_started_again(make: Callable[..., Child]) -> None:
    child = make("import sys; print('--port: not a port'); sys.exit(2)")
    supervisor = Supervisor(children=[child], clock=time.monotonic)
    supervisor.start()
    until(lambda: not child.alive())
    with pytest.raises(ChildError, match="not a port"):
        supervisor.check()


def test_last_words_are_of_this_start_and_not_of_an_earlier_one(make: Callable[..., Child]) -> None:
    child = make("print('new')")
    child.log.write_text("old\n")
    child.start()
    until(lambda: not child.alive())
    assert child.last_words() == "new"


def test_child_that_was_never_started_is_neither_alive_nor_stopped(make: Callable[..., Child]) -> None:
    child = make(SLEEPER)
    child.terminate()
    child.kill()
    assert not child.alive() and child.exit_code() is None and child.last_words() == ""


def test_leftovers_are_found_by_their_volume_and_stopped(make: Callable[..., Child], tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    found = make(SLEEPER, "services.gateway", name="found", environment={MARK: str(mine)})
    passed_over = make(SLEEPER, "services.gateway", name="other", environment={MARK: str(other)})
    unmarked = make(SLEEPER, "services.gateway", name="unmarked")
    for child in (found, passed_over, unmarked):
        child.start()
        until(lambda child=child: awake(child))
    assert list(marked(mine, "services.gateway")) == [found.pid]
    assert list(marked(mine, "services.trainer")) == []
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        until(lambda: not found.alive())

    assert stop_leftovers(mine, grace=DEADLINE, clock=time.monotonic, wait=wait) == 1
    assert found.exit_code() == -signal.SIGTERM
    assert passed_over.alive() and unmarked.alive()
    assert stop_leftovers(mine, grace=DEADLINE, clock=time.monotonic, wait=wait) == 0


def test_trainers_of_the_volume_can_be_killed(make: Callable[..., Child], tmp_path: Path) -> None:
    trainer = make(STUBBORN, "services.trainer", environment={MARK: str(tmp_path)})
    trainer.start()
    until(lambda: awake(trainer))
    kill_marked(tmp_path, "services.trainer")
    until(lambda: trainer.exit_code() == -signal.SIGKILL)


def test_without_proc_nothing_is_found(tmp_path: Path) -> None:
    assert list(marked(tmp_path, "services.gateway", proc=tmp_path / "missing")) == []
