"""The processes of a soak: a gateway and evaluators, started again whenever they end, and the gateway's trainers."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.soak.processes import MARK, begun_for, held_open, listening_port, working_on
from benchmarks.soak.schedule import DEATHS, Fault

PERIOD = 0.1
PAUSE = 0.3  # before a process that has ended is started again
# A process counts as disturbed until so many seconds after it answered again: what waits in it goes first.
SETTLING_SECONDS = 2.0


class Member:
    """A process that is started again whenever it ends.

    Args:
        role: Its name.
        command: What to run.
        environment: Its whole environment.
        log: The file its output is appended to.
    """

    def __init__(self, *, role: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.role = role
        self.incarnation = 0
        self.leaving = False
        self._lasting: set[Fault] = set()
        self._undisturbed_since = float("inf")
        self._command = command
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process, if one runs."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def start(self) -> None:
        """Starts it."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._undisturbed_since = float("inf")
        self.leaving = False
        self.incarnation += 1

    def struck(self, fault: Fault) -> None:
        """Notes that a fault strikes it now. One that lasts does so until it is `over`."""
        self.leaving = self.leaving or fault.ends
        if not fault.ends:
            self._lasting.add(fault)
        self._undisturbed_since = float("inf")

    def over(self, fault: Fault) -> None:
        """Notes that a fault lasts no longer."""
        self._lasting.discard(fault)

    def answered(self) -> None:
        """Notes that it answered: unless it is about to end, or a fault still lasts, it is back."""
        if self._undisturbed_since == float("inf") and not self.leaving and not self._lasting:
            self._undisturbed_since = time.monotonic()

    @property
    def is_back(self) -> bool:
        """Whether it has answered since it was started or struck last."""
        return self._undisturbed_since < float("inf")

    def is_undisturbed(self, incarnation: int, began: float) -> bool:
        """Whether that incarnation still runs, and no fault had to do with what began then (monotonic)."""
        return self.incarnation == incarnation and began > self._undisturbed_since + SETTLING_SECONDS

    def exit_code(self) -> int | None:
        """How it ended, or None while it runs."""
        return None if self._process is None else self._process.poll()

    def stop(self, seconds: float) -> int | None:
        """Asks it to end and waits. Returns how it ended, or None if it had to be killed."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None


class House:
    """All processes on one volume.

    Args:
        volume: Their volume.
        logs: Where their output goes.
        port: The gateway's.
        metrics_ports: One for each evaluator.
        slots: How many trainers the gateway may start.
    """

    def __init__(self, *, volume: Path, logs: Path, port: int, metrics_ports: list[int], slots: int) -> None:
        self.slots = [f"slot-{number}" for number in range(slots)]
        self.troubles: list[str] = []
        self._volume = volume
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        common = os.environ | {
            "TANDEM_EVALUATOR_LEASE_SECONDS": "5",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            MARK: str(volume),  # which whatever they start inherits
        }
        gateway = {
            "TANDEM_GATEWAY_SLOTS": str(slots),
            "TANDEM_GATEWAY_POLL_SECONDS": "0.1",
            "TANDEM_GATEWAY_BACKOFF_SECONDS": "0.1",
            "TANDEM_GATEWAY_LONGEST_BACKOFF_SECONDS": "0.5",
            "TANDEM_GATEWAY_ATTEMPTS": "1000",
            # Which its trainers inherit: twice as patient as evaluators are, as by default.
            "TANDEM_TRAINER_LEASE_SECONDS": "10",
            "TANDEM_TRAINER_METRICS_PORT": "0",
        }
        python = [sys.executable, "-m"]
        self.members = {
            "gateway": Member(
                role="gateway",
                command=[*python, "services.gateway", "--volume", str(volume), "--port", str(port)],
                environment=common | gateway,
                log=logs / "gateway.log",
            )
        }
        for number, metrics_port in enumerate(metrics_ports):
            role = f"evaluator-{number}"
            self.members[role] = Member(
                role=role,
                command=[*python, "services.evaluator", "--volume", str(volume), "--name", role],
                environment=common | {"TANDEM_EVALUATOR_METRICS_PORT": str(metrics_port)},
                log=logs / f"{role}.log",
            )
        self.roles = [*self.members, *self.slots]

    def start(self) -> None:
        """Starts all, and keeps them running."""
        for member in self.members.values():
            member.start()
        self._spawn(self._keep)

    def strike(self, fault: Fault) -> bool:
        """Lets a fault happen, in the background where it lasts. Returns whether there was somebody to strike."""
        pid = self._pid(fault.role)
        if pid is None:
            return False
        if (member := self.members.get(fault.role)) is not None:
            member.struck(fault)
        if fault.ends:
            _send(pid, signal.SIGKILL if fault.action == "kill" else signal.SIGTERM)
        else:
            self._spawn(lambda: self._hold(pid, fault))
        return True

    def is_back(self) -> bool:
        """Whether everybody is there, and answers."""
        return all(member.pid is not None and member.is_back for member in self.members.values())

    def stop(self, seconds: float = 60.0) -> None:
        """Ends all in order: evaluators, then the gateway; then nothing may be left."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for member in reversed(self.members.values()):
            code = member.stop(seconds)
            if code != 0:
                self.troubles.append(f"{member.role} was asked to stop and ended with {code}")
        deadline = time.monotonic() + seconds
        while list(begun_for(self._volume)) and time.monotonic() < deadline:
            time.sleep(0.2)  # a trainer that has said its last word still has to end
        self.troubles += [f"process {pid} is left: {' '.join(words)}" for pid, words in begun_for(self._volume)]

    def kill_all(self) -> None:
        """Ends whatever is there at once."""
        self._stopping.set()
        for pid, _ in begun_for(self._volume):
            _send(pid, signal.SIGKILL)

    def descriptors(self) -> dict[str, list[str]]:
        """What the gateway and each evaluator have open, by role."""
        return {role: held_open(member.pid or 0) for role, member in self.members.items()}

    def door(self, role: str) -> tuple[int, int | None]:
        """The process of a role, 0 for none, and the port that it listens at."""
        pid = self._pid(role) or 0
        return pid, listening_port(pid)

    def _pid(self, role: str) -> int | None:
        if role in self.members:
            return self.members[role].pid
        there = working_on(self._volume)
        return next((pid for pid, words in there if role in words and "services.trainer" in words), None)

    def _keep(self) -> None:
        while not self._stopping.wait(PAUSE):
            for member in self.members.values():
                code = member.exit_code()
                if code is not None:
                    if not (member.leaving and code in DEATHS):
                        self.troubles.append(f"{member.role} ended with {code}, which nobody asked for")
                    member.start()

    def _hold(self, pid: int, fault: Fault) -> None:
        end = time.monotonic() + fault.seconds
        awake = 0.0 if fault.action == "freeze" else PERIOD / 10
        while (left := end - time.monotonic()) > 0:
            _send(pid, signal.SIGSTOP)
            time.sleep(left if fault.action == "freeze" else min(left, PERIOD - awake))
            _send(pid, signal.SIGCONT)
            time.sleep(awake)
        if fault.role in self.members:
            self.members[fault.role].over(fault)

    def _spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
