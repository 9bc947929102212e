"""A volume that is really full: a tmpfs of a few megabytes in a namespace of its own, with all at work on it."""

import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from services.gateway.launchers.procfs import holders
from shared.checkpoints import CheckpointStore
from shared.errors import NotFoundError
from shared.layout import RunFolder, Volume
from shared.records import write_record
from shared.spec import RunSpec, parse_spec
from tests.processes.constant_models import export
from tests.processes.trainers import bytes_at, make_run, training

ROOT = Path(__file__).parents[2]
SERVED = "20260101-000000-served-0001"
MEGABYTES = 8
PATIENCE = 60.0
PICTURE = {"instances": np.zeros((1, 8, 8, 3), int).tolist()}
CHANGES = {
    "name": "full",
    "steps": 2_500,
    "batch_size": 8,
    "dataset": {"kind": "shapes"},
    "cadence": {"log_steps": 10, "checkpoint_steps": 20},
    "retention": {"latest": 2},
}


def wait_for(what: Callable[[], Any], *, why: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < deadline, f"there was no {why}"
        time.sleep(0.02)
    return found


@dataclass
class Small:
    """A small file system in a namespace of its own.

    Attributes:
        volume: It, as this process sees it, which is not in the namespace.
        inside: Its path in the namespace.
        enter: What a command line begins with to run there.
    """

    volume: Volume
    inside: Path
    enter: list[str]

    def fill(self) -> None:
        """Writes until there is no room for another byte."""
        with (self.volume.root / "filler").open("ab", buffering=0) as filler:
            for size in (2**16, 1):
                try:
                    while True:
                        filler.write(bytes(size))
                except OSError as error:
                    assert error.errno == errno.ENOSPC

    def make_room(self) -> None:
        (self.volume.root / "filler").unlink()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    place = tmp_path / "small"
    place.mkdir()
    mount = f"mount -t tmpfs -o size={MEGABYTES}m none '{place}' && echo mounted && exec cat"
    with subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        if holder.stdout.readline() != "mounted\n":
            pytest.skip(f"needs the right to mount in a namespace: {holder.stderr.read()}")
        enter = ["nsenter", "--user", "--mount", "--preserve-credentials", "--target", str(holder.pid)]
        yield Small(Volume(Path(f"/proc/{holder.pid}/root{place}")), place, enter)
        holder.stdin.close()


@dataclass
class Gateway:
    """A gateway inside, and what it answers."""

    process: subprocess.Popen[str]
    url: str

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=PATIENCE).json()

    def post(self, path: str, body: Any = None) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=PATIENCE)


@contextmanager
def gateway_in(small: Small, log: Path) -> Iterator[Gateway]:
    environment = os.environ | {
        "TANDEM_GATEWAY_SLOTS": "1",
        "TANDEM_GATEWAY_POLL_SECONDS": "0.05",
        "TANDEM_GATEWAY_BACKOFF_SECONDS": "0.1",
        "TANDEM_GATEWAY_LONGEST_BACKOFF_SECONDS": "0.5",
        "TANDEM_GATEWAY_ATTEMPTS": "1000",
        "TANDEM_GATEWAY_TRAINER_COMMAND": "{python} -m tests.trainer.numpy_trainer --volume {volume} --slot {slot}",
        "TANDEM_TRAINER_METRICS_PORT": "0",
        "SECONDS_PER_STEP": "0.002",
        "PYTHONPATH": str(ROOT),  # nsenter begins elsewhere
    }
    command = [*small.enter, sys.executable, "-m", "services.gateway", "--volume", str(small.inside), "--port", "0"]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, "--stop-slots-on-exit"],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        line = process.stdout.readline()
        assert "http://" in line, log.read_text()
        gateway = Gateway(process, "http://" + line.split("http://")[1].split("/")[0])
        wait_for(lambda: httpx.get(f"{gateway.url}/readyz").status_code == 200, why="ready gateway")
        yield gateway
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.communicate()


@contextmanager
def predicting(gateway: Gateway) -> Iterator[list[int]]:
    """Asks for predictions meanwhile; collects the statuses of the answers."""
    statuses: list[int] = []
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.01):
            statuses.append(gateway.post(f"/v1/models/{SERVED}:classify", PICTURE).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        done.set()
        thread.join()


def metric(address: str, name: str) -> float:
    text = httpx.get(address, timeout=PATIENCE).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def newest_whole(folder: RunFolder) -> int:
    """The newest step that is listed; each one is whole."""
    store = CheckpointStore(folder)
    steps = store.steps()
    for step in steps:
        with contextlib.suppress(NotFoundError):  # a newer one has taken its place meanwhile
            store.open(step).verify()
    return max(steps, default=-1)


def test_f48_a_full_volume_stops_no_prediction_loses_nothing_and_is_left_behind_once_there_is_room(
    small: Small, tmp_path: Path
) -> None:
    write_record(small.volume.run(SERVED).spec, RunSpec(name="served"))
    export(small.volume.run(SERVED), 1, classes=tuple("abcdefghij"), precision=0.5)
    with gateway_in(small, tmp_path / "gateway.log") as gateway, predicting(gateway) as statuses:
        wait_for(lambda: 200 in statuses, why="first prediction")
        statuses.clear()
        run = gateway.post("/v1/runs", {"spec": CHANGES}).json()["id"]
        folder = small.volume.run(run)
        wait_for(lambda: newest_whole(folder) >= 100, why="checkpoint")
        log = (small.volume.gateway / "slots" / "slot-0.log").read_text()
        trainer = re.search(r"http://\S+/metrics", log).group()

        # While it trains: it goes on without checkpoints, and says so.
        small.fill()
        before, step = newest_whole(folder), metric(trainer, "tandem_training_step{")
        failures = "tandem_checkpoint_failures_total"
        wait_for(lambda: small.fill() or metric(trainer, failures) >= 2, why="commit that failed")
        wait_for(lambda: metric(trainer, "tandem_training_step{") > step + 100, why="further step")
        assert newest_whole(folder) >= before
        refused = gateway.post("/v1/runs", {"spec": CHANGES})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "not_writable"
        assert "No space left on device" in refused.json()["error"]["message"]

        # Where it dies besides, no other can begin until there is room; what was committed stays.
        (pid,) = [process.pid for process in holders(small.volume.gateway / "slots" / "slot-0.lock")]
        os.kill(pid, signal.SIGKILL)
        small.fill()
        asked, kept = len(statuses), newest_whole(folder)
        said = tmp_path / "gateway.log"
        known = len(said.read_text())
        wait_for(lambda: small.fill() or "No space left" in said.read_text()[known:], why="word of it")
        wait_for(lambda: small.fill() or len(statuses) > asked + 20, why="further prediction")
        assert newest_whole(folder) >= kept

        small.make_room()
        view = wait_for(lambda: (v := gateway.get(f"/v1/runs/{run}"))["state"] == "completed" and v, why="end")
        assert view["restarts"] >= 1
        assert len(gateway.get("/v1/runs")["runs"]) == 2, "the one that was refused was not made"
    assert set(statuses) == {200}
    assert list(small.volume.root.rglob(".tmp-*")) == []
    whole = Volume(tmp_path / "undisturbed")
    undisturbed = make_run(whole, run, parse_spec(CHANGES, source="test"))
    with training(whole, "--run", run) as trainer:
        assert trainer.end() == 0, trainer.text()
    assert bytes_at(folder, CHANGES["steps"]) == bytes_at(undisturbed, CHANGES["steps"])
