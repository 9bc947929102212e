"""The launcher of containers: a slot is a service of compose.yaml, which makes its container; here it is only started.

A slot `trainer-<number>` is the container `<project>-trainer-<number>`. Nothing is remembered but the deadlines of
stops: truth is what the engine lists and shows. Its events are hints, which have the next look taken at once.
"""

import logging
import random
import re
import threading
from collections.abc import Callable, Sequence

from services.gateway.launchers.base import Observation
from services.gateway.launchers.engine import Engine
from shared.errors import ConflictError, NotFoundError, TandemError
from shared.lifecycle import StopEvent

SLOT = re.compile(r"trainer-[0-9]{1,2}", re.ASCII)
KILLED = 137
SIGNALLED = 128
ACTIONS = frozenset({"start", "die", "oom", "destroy", "create"})

log = logging.getLogger(__name__)


class DockerLauncher:
    """Slots `trainer-0`, `trainer-1`, … of one compose project.

    Every method raises UnavailableError while the engine is away: then nothing is known of any slot, and nothing has
    been changed.

    Args:
        engine: Who is asked.
        project: The compose project's name, which the containers' names begin with.
        clock: Monotonic seconds.
    """

    def __init__(self, *, engine: Engine, project: str, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._prefix = f"{project}-"
        self._clock = clock
        self._deadlines: dict[str, float] = {}

    def check(self) -> None:
        """Returns if trainers can be seen and started. See `Launcher.check`."""
        self._engine.ping()

    def slots(self) -> Sequence[str]:
        """The slots whose containers are there, by number."""
        names = (name.removeprefix(self._prefix) for name in self._engine.names(f"{self._prefix}trainer-"))
        return sorted((name for name in names if SLOT.fullmatch(name)), key=lambda name: int(name.rpartition("-")[2]))

    def start(self, slot: str) -> int | None:
        """Starts the slot's container. See `Launcher.start`."""
        if self._engine.state(self._container(slot))["Running"]:
            raise ConflictError("a trainer is there already", where=f"slot {slot}")
        self._deadlines.pop(slot, None)
        self._engine.start(self._container(slot))
        return None

    def stop(self, slot: str, grace: float) -> None:
        """Asks for the release of the slot, once. See `Launcher.stop`."""
        if slot not in self._deadlines:
            # The engine's own stop would keep this call waiting for the trainer.
            self._engine.kill(self._container(slot), "SIGTERM")
            self._deadlines[slot] = self._clock() + grace

    def kill(self, slot: str) -> None:
        """Ends the trainer, and with it whatever it has started."""
        self._engine.kill(self._container(slot), "SIGKILL")

    def observe(self, slot: str) -> Observation:
        """What the engine says of the slot's container. Kills one that is past its grace."""
        try:
            state = self._engine.state(self._container(slot))
        except NotFoundError:
            return Observation(alive=False, retired=True)
        if state["Running"]:
            if self._clock() >= self._deadlines.get(slot, float("inf")):
                self.kill(slot)
            return Observation(alive=True)
        self._deadlines.pop(slot, None)
        code = None if state["Status"] == "created" else int(state["ExitCode"])
        return Observation(
            alive=False,
            exit_code=code if code is None or code <= SIGNALLED else SIGNALLED - code,
            out_of_memory=code == KILLED and bool(state["OOMKilled"]),
        )

    def _container(self, slot: str) -> str:
        if not SLOT.fullmatch(slot):
            raise NotFoundError("no slot is called so", where=slot)
        return f"{self._prefix}{slot}"


class EngineHints:
    """Wakes somebody whenever a container starts or ends, from a thread of its own.

    What is missed while the connection is away is found by the next look all the same.

    Args:
        engine: Who is listened to; not shared with another thread.
        wake: Called for each hint.
        stop: Ends the thread.
        pause: Seconds before the next try after the connection ended, half as many more or less.
    """

    def __init__(self, *, engine: Engine, wake: Callable[[], None], stop: StopEvent, pause: float) -> None:
        self._engine = engine
        self._wake = wake
        self._stop = stop
        self._pause = pause

    def start(self) -> None:
        """Starts the thread, which does not keep the process from ending."""
        threading.Thread(target=self.listen, name="engine-events", daemon=True).start()

    def listen(self) -> None:
        """Listens until told to stop."""
        while not self._stop.is_set():
            try:
                for action in self._engine.events():
                    if action in ACTIONS:
                        self._wake()
                    if self._stop.is_set():
                        return
            except TandemError as error:
                log.debug("no events: %s", error)
            except Exception as error:  # the loop's outer edge: a stream may break in many ways, and is only a hint
                log.debug("the events' stream broke: %s", error)
            # Those of one engine do not all come back in the moment in which it does.
            self._stop.wait(self._pause * random.uniform(0.5, 1.5))  # nosec B311
