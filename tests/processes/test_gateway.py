"""The gateway as a process, with trainers that keep the protocol and compute nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.cli.client import connect
from services.gateway.launchers.procfs import holders
from shared.errors import UnauthenticatedError
from shared.keys import create_key, revoke_key
from shared.layout import Volume
from tests.gateway.webhooks.receiver import SECRET, Receiver, verified

TRAINER = Path(__file__).with_name("fake_trainer.py")
ROOT = Path(__file__).parents[2]
SECONDS = 30.0


def wait_for(what: Callable[[], Any], *, seconds: float = SECONDS) -> Any:
    """What is asked for, once it is true; polled until a deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class GatewayProcess:
    """One gateway on a free port."""

    def __init__(self, volume: Path, *flags: str, **settings: str) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "TANDEM_GATEWAY_POLL_SECONDS": "0.05",
            "TANDEM_GATEWAY_BACKOFF_SECONDS": "0.1",
            "TANDEM_GATEWAY_ATTEMPTS": "3",
            "TANDEM_GATEWAY_TRAINER_COMMAND": f"{{python}} '{TRAINER}' {{volume}} {{slot}}",
            **settings,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.gateway", "--volume", str(volume), "--port", "0", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=volume.parent,
        )
        self.volume = volume
        self.url = ""

    def ready(self) -> "GatewayProcess":
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"(http://\S+)/docs", line)
        assert found, f"it said {line!r} and {self.process.stderr and self.process.stderr.read()!r}"
        self.url = found.group(1)
        wait_for(lambda: self.get("/readyz", check=False).status_code == 200)
        return self

    def get(self, path: str, *, check: bool = True) -> httpx.Response:
        answer = httpx.get(self.url + path)
        assert not check or answer.is_success, answer.text
        return answer

    def post(self, path: str, body: Any = None) -> Any:
        answer = httpx.post(self.url + path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def start(self, **spec: Any) -> str:
        changes = {"steps": 100_000, "dataset": {"kind": "shapes"}, "cadence": {"checkpoint_steps": 5, "log_steps": 1}}
        return str(self.post("/v1/runs", {"spec": changes | spec})["id"])

    def run(self, run: str) -> Any:
        return self.get(f"/v1/runs/{run}").json()

    def reaches(self, run: str, state: str, *, step: int = 0) -> Any:
        def there() -> Any:
            view = self.run(run)
            assert view["state"] != "failed" or state == "failed", view["reason"]
            return view if view["state"] == state and view["step"] >= step else None

        return wait_for(there)

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, errors


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A volume; whatever still works in its slots at the end of the test is killed."""
    folder = tmp_path / "volume"
    folder.mkdir()
    yield folder
    for lock in (folder / "gateway" / "slots").glob("*.lock"):
        for process in holders(lock):
            process.signal(signal.SIGKILL)


@pytest.fixture
def gateway(volume: Path) -> Iterator[Callable[..., GatewayProcess]]:
    """Makes gateways on the volume, which are killed at the end of the test."""
    made: list[GatewayProcess] = []

    def make(*flags: str, **settings: str) -> GatewayProcess:
        made.append(GatewayProcess(volume, *flags, **settings))
        return made[-1]

    yield make
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


def trainers(volume: Path, slot: str = "slot-0") -> list[int]:
    return [process.pid for process in holders(volume / "gateway" / "slots" / f"{slot}.lock")]


def events(volume: Path, run: str) -> list[Any]:
    return [json.loads(line) for line in Volume(volume).run(run).gateway_events.read_text().splitlines()]


def test_a_run_is_completed_and_shown_although_its_trainer_crashed_once(gateway: Any, volume: Path) -> None:
    there = gateway().ready()
    run = there.start(steps=20, labels={"crash_once_at": "8"})
    view = there.reaches(run, "completed")
    assert (view["step"], view["checkpoint_step"]) == (20, 20)
    assert there.get(f"/v1/runs/{run}/series").json()["step"] == list(range(1, 21))
    assert [each["step"] for each in there.get(f"/v1/runs/{run}/checkpoints").json()["checkpoints"]] == [5, 10, 15, 20]
    wait_for(lambda: trainers(volume) == [])
    wait_for(lambda: there.get("/v1/slots").json()["slots"][0]["state"] == "free")  # seen at the next look at the slot
    assert there.end(signal.SIGTERM)[0] == 0


def test_a_run_is_stopped_with_a_last_checkpoint(gateway: Any, volume: Path) -> None:
    there = gateway().ready()
    run = there.start()
    there.reaches(run, "running", step=7)
    assert there.post(f"/v1/runs/{run}:stop")["state"] == "stopping"
    view = there.reaches(run, "stopped")
    assert view["checkpoint_step"] == view["step"] >= 7


def test_a_killed_trainer_is_restarted_from_its_checkpoint(gateway: Any, volume: Path) -> None:
    there = gateway().ready()
    run = there.start()
    there.reaches(run, "running", step=10)
    (pid,) = trainers(volume)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: trainers(volume) not in ([], [pid]))
    there.reaches(run, "running", step=20)
    ended = [event for event in events(volume, run) if event["kind"] == "ended"]
    assert [event["message"] for event in ended] == ["its trainer was killed by signal 9"]
    assert there.get("/v1/slots").json()["slots"][0]["run"] == run


def test_f22_a_trainer_that_always_crashes_makes_its_run_fail_with_a_reason(gateway: Any, volume: Path) -> None:
    there = gateway().ready()
    run = there.start(labels={"crash_at": "3"})
    view = there.reaches(run, "failed")
    assert view["reason"] == "its trainer ended with 1; 3 trainers in a row made no new checkpoint"
    assert "crashing at step 3" in (volume / "gateway" / "slots" / "slot-0.log").read_text()


def test_f28_a_killed_gateway_leaves_its_trainers_and_the_next_one_adopts_them(gateway: Any, volume: Path) -> None:
    first = gateway().ready()
    run = first.start()
    first.reaches(run, "running", step=3)
    before = trainers(volume)
    first.end(signal.SIGKILL)
    assert trainers(volume) == before
    second = gateway().ready()
    second.reaches(run, "running", step=first_step(volume, run) + 5)
    assert trainers(volume) == before
    assert "TWICE" not in (volume / "gateway" / "slots" / "slot-0.log").read_text()
    second.post(f"/v1/runs/{run}:stop")
    second.reaches(run, "stopped")


def first_step(volume: Path, run: str) -> int:
    return int(json.loads(Volume(volume).run(run).status.read_text())["step"])


def test_a_trainer_whose_pid_was_never_written_down_is_adopted_and_can_be_stopped(gateway: Any, volume: Path) -> None:
    first = gateway().ready()
    run = first.start()
    first.reaches(run, "running", step=1)
    before = trainers(volume)
    first.end(signal.SIGKILL)
    (volume / "gateway" / "slots" / "slot-0.json").unlink()
    second = gateway("--stop-slots-on-exit").ready()
    assert second.get("/v1/slots").json()["slots"][0]["pid"] == before[0]
    assert second.end(signal.SIGTERM)[0] == 0
    assert trainers(volume) == []


def test_a_gateway_ended_in_order_leaves_its_trainers_unless_told_otherwise(gateway: Any, volume: Path) -> None:
    first = gateway().ready()
    run = first.start()
    first.reaches(run, "running", step=1)
    assert first.end(signal.SIGTERM)[0] == 0
    assert len(trainers(volume)) == 1
    second = gateway("--stop-slots-on-exit").ready()
    second.reaches(run, "running")
    assert second.end(signal.SIGINT)[0] == 0
    assert trainers(volume) == []
    assert json.loads(Volume(volume).run(run).status.read_text())["phase"] == "released"
    third = gateway().ready()
    third.reaches(run, "running", step=first_step(volume, run) + 1)


def test_a_trainer_that_hears_nothing_is_killed_after_its_grace(gateway: Any, volume: Path) -> None:
    there = gateway(TANDEM_GATEWAY_STOP_GRACE_SECONDS="0.3").ready()
    run = there.start(labels={"deaf": "yes"})
    there.reaches(run, "running", step=1)
    there.post(f"/v1/runs/{run}:stop")
    there.reaches(run, "stopped")
    assert trainers(volume) == []


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway with nothing to do, for tests that only look at it."""
    folder = tmp_path_factory.mktemp("standing") / "volume"
    folder.mkdir()
    made = GatewayProcess(folder)
    yield made.ready()
    made.process.kill()
    made.process.communicate()


def refusal(there: GatewayProcess) -> str:
    """The one line that a gateway which cannot start says."""
    _, errors = there.process.communicate(timeout=SECONDS)
    assert there.process.returncode == 2
    (line,) = errors.splitlines()
    return str(line)


def test_a_second_gateway_on_the_volume_is_refused_by_the_name_of_the_first(standing: Any) -> None:
    line = refusal(GatewayProcess(standing.volume))
    assert f"pid {standing.process.pid}" in line
    assert standing.url in line


def test_a_port_in_use_is_one_clear_line(standing: Any, tmp_path: Path) -> None:
    port = standing.url.rpartition(":")[2]
    line = refusal(GatewayProcess(tmp_path / "other", "--port", port))
    assert f"127.0.0.1:{port}: Address already in use" in line


def test_a_volume_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refusal(GatewayProcess(tmp_path / "file"))


def test_the_gateway_is_small_and_imports_no_tensorflow(standing: Any) -> None:
    status = Path(f"/proc/{standing.process.pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1))  # type: ignore[union-attr]
    assert resident < 150 * 1024, "KiB"
    assert "tensorflow" not in Path(f"/proc/{standing.process.pid}/maps").read_text()


def test_f41_without_keys_it_listens_to_this_machine_alone_and_says_so(volume: Path) -> None:
    refused = GatewayProcess(volume, "--host", "0.0.0.0")
    _, errors = refused.process.communicate(timeout=SECONDS)
    assert refused.process.returncode == 2
    assert "TANDEM_GATEWAY_KEYS" in errors
    assert "tandem keys create" in errors
    gateway = GatewayProcess(volume).ready()
    assert gateway.process.stdout is not None
    assert "asks nobody for a key" in gateway.process.stdout.readline()
    gateway.end(signal.SIGTERM)


def test_with_keys_it_listens_to_all_and_asks_for_one_until_it_is_revoked(volume: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    missing = GatewayProcess(volume, "--host", "0.0.0.0", TANDEM_GATEWAY_KEYS=str(keys))
    _, errors = missing.process.communicate(timeout=SECONDS)
    assert missing.process.returncode == 2
    assert "there is no such key file" in errors
    secret = create_key(keys, name="ci", scopes=("read", "control"), clock=time.time)
    gateway = GatewayProcess(volume, "--host", "0.0.0.0", TANDEM_GATEWAY_KEYS=str(keys)).ready()
    assert gateway.get("/v1/runs", check=False).status_code == 401
    with connect(gateway.url, key=secret) as client:
        run = client.start_run(recipe="shapes")
        client.kill_run(run.id)
        revoke_key(keys, "ci")
        with pytest.raises(UnauthenticatedError):
            client.runs()
    gateway.end(signal.SIGTERM)
    lines = [json.loads(line) for line in (volume / "gateway" / "audit.jsonl").read_text().splitlines()]
    assert [(line["who"], line["what"], line["run"]) for line in lines] == [
        ("ci", "start", run.id),
        ("ci", "kill", run.id),
    ]
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(secret.encode() in data for data in written)


def test_webhooks_tell_the_states_of_a_run_over_a_killed_gateway_and_a_receiver_that_fails(
    volume: Path, tmp_path: Path
) -> None:
    receiver = Receiver()
    receiver.answers = [500]
    (tmp_path / "team.secret").write_text(SECRET)
    hooks = tmp_path / "webhooks.yaml"
    hooks.write_text(f"webhooks: [{{name: team, url: '{receiver.url}', secret_file: team.secret, events: [state]}}]")
    try:
        first = GatewayProcess(volume, TANDEM_GATEWAY_WEBHOOKS=str(hooks)).ready()
        run = first.start()
        first.reaches(run, "running")
        receiver.until(lambda: "starting" in [body["data"]["to"] for body in receiver.bodies])
        first.end(signal.SIGKILL)
        second = GatewayProcess(volume, TANDEM_GATEWAY_WEBHOOKS=str(hooks)).ready()
        second.post(f"/v1/runs/{run}:stop")
        second.reaches(run, "stopped")
        receiver.until(lambda: "stopped" in [body["data"]["to"] for body in receiver.bodies])
        _, errors = second.end(signal.SIGTERM)
    finally:
        receiver.close()
    told = {body["id"]: body["data"]["to"] for body in receiver.bodies}
    journal = Volume(volume).run(run).gateway_events.read_text().splitlines()
    assert list(told.values()) == [e["details"]["to"] for e in map(json.loads, journal) if e["kind"] == "state"]
    assert all(verified(headers, body) for headers, body in receiver.requests)
    assert len(receiver.requests) > len(told)  # the one that was refused came again
    assert SECRET not in errors + (volume / "gateway" / "log.jsonl").read_text()


def test_a_webhook_that_is_written_into_the_file_counts_without_a_restart(volume: Path, tmp_path: Path) -> None:
    receiver = Receiver()
    (tmp_path / "team.secret").write_text(SECRET)
    hooks = tmp_path / "webhooks.yaml"
    hooks.write_text("webhooks: []\n")
    there = GatewayProcess(volume, TANDEM_GATEWAY_WEBHOOKS=str(hooks)).ready()
    try:
        hooks.write_text(f"webhooks: [{{name: team, url: '{receiver.url}', secret_file: team.secret}}]")
        log = volume / "gateway" / "log.jsonl"
        wait_for(lambda: log.exists() and "the webhooks are now: team" in log.read_text())
        run = there.start()
        receiver.until(lambda: "running" in [body["data"]["to"] for body in receiver.bodies])
        assert {body["run"] for body in receiver.bodies} == {run}
        there.post(f"/v1/runs/{run}:kill")
    finally:
        there.end(signal.SIGTERM)
        receiver.close()
