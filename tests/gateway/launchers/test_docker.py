"""The launcher of containers, against an engine that lists, starts, kills, fails and goes away as a test says."""

import threading
from collections.abc import Callable, Iterator

import pytest

from services.gateway.launchers.base import Observation
from services.gateway.launchers.docker import DockerLauncher, EngineHints
from services.gateway.launchers.engine import Engine, EngineError, connect
from shared.errors import ConflictError, NotFoundError, UnavailableError
from shared.lifecycle import StopEvent
from tests.stack.fake_engine import CREATED, RUNNING, FakeEngine, exited


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    fake = FakeEngine(containers={"shop-trainer-0": dict(CREATED)})
    fake.up()
    yield fake
    fake.down()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def launcher(engine: FakeEngine, clock: Clock) -> Iterator[DockerLauncher]:
    client = _client(engine)
    yield DockerLauncher(engine=client, project="shop", clock=clock)
    client.close()


def _client(engine: FakeEngine) -> Engine:
    return Engine(connect=lambda: connect(engine.url, timeout=5), where=engine.url)


def test_f32_slots_are_the_projects_trainers_by_number(engine: FakeEngine, launcher: DockerLauncher) -> None:
    for name in ("shop-trainer-10", "shop-trainer-2", "shop-trainer-2-1", "shop-gateway-1", "workshop-trainer-3"):
        engine.containers[name] = dict(CREATED)
    assert launcher.slots() == ["trainer-0", "trainer-2", "trainer-10"]


def test_every_request_about_a_container_names_it(engine: FakeEngine, launcher: DockerLauncher) -> None:
    launcher.start("trainer-0")
    launcher.observe("trainer-0")
    launcher.stop("trainer-0", 5)
    launcher.kill("trainer-0")
    about = [line for line in engine.requests if "/containers/" in line and "/containers/json" not in line]
    assert about
    assert all("/containers/shop-trainer-0/" in line for line in about)


def test_a_container_that_was_never_started_has_no_exit_code(launcher: DockerLauncher) -> None:
    assert launcher.observe("trainer-0") == Observation(alive=False)


def test_starting_a_slot_starts_its_container_and_no_other(engine: FakeEngine, launcher: DockerLauncher) -> None:
    engine.containers["shop-trainer-1"] = dict(CREATED)
    assert launcher.start("trainer-0") is None
    assert launcher.observe("trainer-0").alive
    assert not launcher.observe("trainer-1").alive


def test_a_slot_that_runs_is_not_started_again(engine: FakeEngine, launcher: DockerLauncher) -> None:
    launcher.start("trainer-0")
    with pytest.raises(ConflictError):
        launcher.start("trainer-0")


def test_a_start_that_the_engine_cannot_carry_out_tells_its_reason(
    engine: FakeEngine, launcher: DockerLauncher
) -> None:
    engine.start_failure = (500, 'could not select device driver "nvidia" with capabilities: [[gpu]]')
    with pytest.raises(EngineError, match="could not select device driver"):
        launcher.start("trainer-0")


def test_stopping_asks_once_and_kills_only_past_the_grace(
    engine: FakeEngine, launcher: DockerLauncher, clock: Clock
) -> None:
    launcher.start("trainer-0")
    launcher.stop("trainer-0", 10)
    launcher.stop("trainer-0", 10)
    clock.now = 9.9
    assert launcher.observe("trainer-0").alive
    clock.now = 10.0
    launcher.observe("trainer-0")
    assert [line.partition("signal=")[2] for line in engine.requests if "/kill" in line] == ["SIGTERM", "SIGKILL"]
    assert launcher.observe("trainer-0") == Observation(alive=False, exit_code=-9)


def test_the_grace_of_one_stop_does_not_outlive_the_trainer(
    engine: FakeEngine, launcher: DockerLauncher, clock: Clock
) -> None:
    launcher.start("trainer-0")
    launcher.stop("trainer-0", 10)
    engine.containers["shop-trainer-0"] = exited(0)
    launcher.observe("trainer-0")
    launcher.start("trainer-0")
    clock.now = 11.0
    launcher.observe("trainer-0")
    assert launcher.observe("trainer-0").alive


def test_killing_what_has_ended_is_no_error(engine: FakeEngine, launcher: DockerLauncher) -> None:
    engine.containers["shop-trainer-0"] = exited(0)
    launcher.kill("trainer-0")
    assert launcher.observe("trainer-0") == Observation(alive=False, exit_code=0)


@pytest.mark.parametrize(
    ("code", "flag", "expected"),
    [(137, True, True), (137, False, False), (1, True, False), (0, True, False)],
)
def test_f21_out_of_memory_takes_both_the_exit_code_and_the_engines_flag(
    engine: FakeEngine, launcher: DockerLauncher, code: int, flag: bool, expected: bool
) -> None:
    engine.containers["shop-trainer-0"] = exited(code, out_of_memory=flag)
    assert launcher.observe("trainer-0").out_of_memory is expected


def test_a_container_that_is_gone_takes_no_more_runs(engine: FakeEngine, launcher: DockerLauncher) -> None:
    engine.containers.clear()
    assert launcher.slots() == []
    assert launcher.observe("trainer-0") == Observation(alive=False, retired=True)
    with pytest.raises(NotFoundError, match="docker compose up"):
        launcher.start("trainer-0")


@pytest.mark.parametrize("name", ["gateway-1", "trainer-0/../x", "trainer-", "TRAINER-0", "trainer-0\n"])
def test_f32_a_name_that_is_no_slot_never_reaches_the_engine(
    engine: FakeEngine, launcher: DockerLauncher, name: str
) -> None:
    with pytest.raises(NotFoundError):
        launcher.start(name)
    assert engine.requests == []


AWAY = {"proxy": (503, "Service Unavailable"), "failing": (500, "context deadline exceeded")}


@pytest.mark.parametrize("trouble", ["gone", *AWAY])
def test_f31_an_engine_that_is_away_is_unavailable_and_found_again(
    engine: FakeEngine, launcher: DockerLauncher, trouble: str
) -> None:
    launcher.check()
    if trouble == "gone":
        engine.down()
    else:
        engine.failure = AWAY[trouble]
    for ask in (launcher.check, launcher.slots, lambda: launcher.observe("trainer-0")):
        with pytest.raises(UnavailableError):
            ask()
    with pytest.raises(UnavailableError):
        launcher.start("trainer-0")
    if trouble == "gone":
        engine.up()
    engine.failure = None
    launcher.start("trainer-0")
    assert engine.containers["shop-trainer-0"] == RUNNING


def test_an_engine_that_was_not_there_is_found_when_it_comes(engine: FakeEngine, clock: Clock) -> None:
    engine.down()
    client = _client(engine)
    launcher = DockerLauncher(engine=client, project="shop", clock=clock)
    with pytest.raises(UnavailableError):
        launcher.slots()
    engine.up()
    assert launcher.slots() == ["trainer-0"]
    client.close()


def test_what_the_proxy_refuses_says_so(engine: FakeEngine, launcher: DockerLauncher) -> None:
    launcher.check()
    engine.failure = (403, "Forbidden")
    with pytest.raises(EngineError, match="docker-proxy refused"):
        launcher.slots()


def test_f31_an_engine_that_takes_too_long_is_unavailable_and_found_again(engine: FakeEngine, clock: Clock) -> None:
    client = Engine(connect=lambda: connect(engine.url, timeout=0.5), where=engine.url)
    launcher = DockerLauncher(engine=client, project="shop", clock=clock)
    launcher.start("trainer-0")
    asleep = engine.wakes = threading.Event()
    try:
        with pytest.raises(UnavailableError):
            launcher.observe("trainer-0")
        engine.wakes = None
        assert launcher.observe("trainer-0").alive, "what comes too late is not taken for the next answer"
    finally:
        asleep.set()
        client.close()


def test_f30_events_wake_and_their_stream_is_taken_up_again_when_it_ends(engine: FakeEngine) -> None:
    woken, stop = threading.Semaphore(0), StopEvent()
    hints = EngineHints(engine=_client(engine), wake=woken.release, stop=stop, pause=0.01)
    thread = threading.Thread(target=hints.listen, daemon=True)
    thread.start()
    for _ in range(2):
        _until_somebody_listens(engine, stop)
        engine.say("exec_create: sh")  # of no interest here
        engine.say("die")
        assert woken.acquire(timeout=10)
        assert not woken.acquire(blocking=False)
        engine.end_streams()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_f30_events_are_heard_after_a_silence_longer_than_an_answer_may_take(engine: FakeEngine) -> None:
    woken, stop = threading.Semaphore(0), StopEvent()
    listener = Engine(connect=lambda: connect(engine.url, timeout=0.1), where=engine.url)
    hints = EngineHints(engine=listener, wake=woken.release, stop=stop, pause=0.01)
    thread = threading.Thread(target=hints.listen, daemon=True)
    thread.start()
    _until_somebody_listens(engine, stop)
    assert not woken.acquire(timeout=0.5)
    _until_somebody_listens(engine, stop)
    engine.say("die")
    assert woken.acquire(timeout=10)
    stop.set()
    engine.end_streams()
    thread.join(10)
    assert not thread.is_alive()


class Pauses(StopEvent):
    """Ends a listener after so many pauses, and keeps how long each was to be."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.kept: list[float] = []

    def wait(self, timeout: float) -> bool:
        self.kept.append(timeout)
        if len(self.kept) == self.count:
            self.set()
        return self.is_set()


def test_f31_an_engine_that_is_away_is_listened_for_at_irregular_times(engine: FakeEngine) -> None:
    engine.down()
    pauses = Pauses(50)
    EngineHints(engine=_client(engine), wake=lambda: None, stop=pauses, pause=1.0).listen()
    assert len(set(pauses.kept)) == 50
    assert all(0.5 <= pause <= 1.5 for pause in pauses.kept)
    assert max(pauses.kept) - min(pauses.kept) > 0.5


def test_f30_hints_that_are_cut_repeated_out_of_order_or_lost_only_have_a_look_taken(
    engine: FakeEngine, launcher: DockerLauncher
) -> None:
    looks: list[bool] = []
    stop = StopEvent()
    hints = EngineHints(
        engine=_client(engine), wake=lambda: looks.append(launcher.observe("trainer-0").alive), stop=stop, pause=0.01
    )
    thread = threading.Thread(target=hints.listen, daemon=True)
    thread.start()
    launcher.start("trainer-0")
    for said in (["die", "start", "start"], ["start", "die"], ["die"] * 5):  # while it runs all along
        _until_somebody_listens(engine, stop)
        wanted = len(looks) + len(said)
        for action in said:
            engine.say(action)
        _until(lambda: len(looks) >= wanted, stop)  # noqa: B023
        engine.end_streams()
    assert set(looks) == {True}, "what an event says is not believed"
    engine.containers["shop-trainer-0"] = exited(137)  # and nobody says so
    assert not launcher.observe("trainer-0").alive
    stop.set()
    engine.end_streams()
    thread.join(10)


def test_f47_an_engine_that_was_restarted_shows_its_containers_as_ended_and_they_can_be_started(
    engine: FakeEngine, launcher: DockerLauncher
) -> None:
    launcher.start("trainer-0")
    engine.down()
    with pytest.raises(UnavailableError):
        launcher.observe("trainer-0")
    engine.containers["shop-trainer-0"] = exited(255)  # what an engine says of those that ended with it
    engine.up()
    assert launcher.observe("trainer-0") == Observation(alive=False, exit_code=-127)
    launcher.start("trainer-0")
    assert launcher.observe("trainer-0").alive


def _until(condition: Callable[[], bool], stop: StopEvent) -> None:
    for _ in range(1000):
        if condition():
            return
        stop.wait(0.01)
    pytest.fail("it did not happen in time")


def _until_somebody_listens(engine: FakeEngine, stop: StopEvent) -> None:
    for _ in range(1000):
        if engine.listeners:
            return
        stop.wait(0.01)
    pytest.fail("nobody listens to the engine's events")
