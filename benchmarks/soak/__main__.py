"""Everything at once, under faults: a gateway, two evaluators, two trainers, predictions, scrapes; then what must hold.

    python -m benchmarks.soak [--seconds 600] [--seed N] [--keep FOLDER]

Trains run after run of a small network on shapes, with a checkpoint each 40 ms of which only the newest is kept, while
a schedule that follows from the seed kills, freezes, starves and restarts processes. Exits with 1, and says why, if
anything that must hold at the end does not.
"""

import argparse
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from benchmarks.soak.house import House
from benchmarks.soak.load import Load
from benchmarks.soak.schedule import Fault, schedule
from benchmarks.soak.verdict import orphans, troubles_of_run
from shared.checkpoints import Checkpoint, CheckpointStore
from shared.layout import Volume
from shared.records import write_record
from shared.spec import parse_spec

TRAINERS, EVALUATORS = 2, 2
SPEC: dict[str, Any] = {
    "name": "soak",
    "steps": 600,
    "batch_size": 16,
    "model": {"name": "resnet-small", "options": {"width": 2}},
    "dataset": {"kind": "shapes", "train_examples": 2_000, "test_examples": 200},
    "cadence": {"log_steps": 10, "checkpoint_steps": 600, "checkpoint_seconds": 0.04, "summary_steps": None},
    "retention": {"latest": 1, "best": 0},
}
PATIENCE_SECONDS = 300.0
MORE_DESCRIPTORS = 30


def main() -> int:
    """Runs the soak. Returns 1 if something that must hold does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="for how long faults strike")
    parser.add_argument("--seed", type=int, default=None, help="of the schedule; none: another one each time")
    parser.add_argument("--keep", type=Path, help="keeps volume and logs in this folder")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}, {given.seconds:.0f} s", flush=True)
    root = given.keep or Path(tempfile.mkdtemp(prefix="soak-"))
    root.mkdir(parents=True, exist_ok=True)
    troubles = soak(root, seed=seed, seconds=given.seconds)
    for trouble, times in Counter(troubles).items():
        print(f"BROKEN: {trouble}" + (f" ({times} times)" if times > 1 else ""))
    if troubles:
        print(f"{len(troubles)} troubles; see {root}; the same schedule: --seed {seed} --seconds {given.seconds:.0f}")
        return 1
    if given.keep is None:
        shutil.rmtree(root)
    print("all that must hold holds")
    return 0


def soak(root: Path, *, seed: int, seconds: float) -> list[str]:
    """Starts all, lets faults strike, waits for the end of every run, stops all. Returns what is wrong."""
    volume = Volume(root / "volume")
    ports = _free_ports(1 + EVALUATORS)
    house = House(volume=volume.root, logs=root, port=ports[0], metrics_ports=ports[1:], slots=TRAINERS)
    gateway = f"http://127.0.0.1:{ports[0]}"
    metrics = {f"evaluator-{number}": f"http://127.0.0.1:{port}" for number, port in enumerate(ports[1:])}
    load = Load(house=house, gateway=gateway, metrics=metrics)
    api = Api(gateway)
    house.start()
    try:
        api.until(lambda: api.get("/readyz") is not None, "ready gateway")
        load.start()
        began, descriptors = time.monotonic(), 0
        struck: Counter[str] = Counter()
        for fault in [*schedule(seed=seed, seconds=seconds, roles=house.roles), None]:
            until = began + (seconds if fault is None else fault.at)
            while (left := until - time.monotonic()) > 0:
                api.keep_busy(TRAINERS)
                time.sleep(min(left, 0.5))
            if fault is not None:
                descriptors = max(descriptors, house.descriptors("gateway")) if descriptors == 0 else descriptors
                _tell(fault, house, struck)
        runs = api.wait_for_all()
        api.until(lambda: _all_judged(volume, runs), "verdict on every last checkpoint")
        load.stop()
        more = house.descriptors("gateway") - descriptors
        house.stop()
        troubles = [*load.troubles, *house.troubles]
        if more > MORE_DESCRIPTORS:
            troubles.append(f"the gateway has {more} descriptors more than at the beginning")
        troubles += [f"process {pid} is left: {' '.join(words)}" for pid, words in house.processes()]
    finally:
        load.stop()
        house.kill_all()
    reference = _undisturbed(root)
    for run in runs:
        troubles += [
            f"run {run}: {trouble}" for trouble in troubles_of_run(volume.run(run), reference, readers=EVALUATORS)
        ]
    troubles += [f"nobody removed {name}" for name in orphans(volume)]
    troubles += _fsck(volume.root)
    print(
        f"{sum(struck.values())} faults ({', '.join(f'{n} {name}' for name, n in sorted(struck.items()))}); "
        f"{len(runs)} runs; predictions {dict(load.answers)} by {len(load.models)} models; {load.scrapes} scrapes"
    )
    if load.answers["200"] == 0:
        troubles.append("no prediction was ever answered")
    return troubles


class Api:
    """The gateway's API, asked again when the gateway is not there. Remembers the runs that it asked for."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._key = 0
        self._runs: list[str] = []
        self._over: set[str] = set()

    def get(self, path: str) -> Any:
        """An answer, or None if there is none now."""
        try:
            answer = httpx.get(self._address + path, timeout=10)
        except httpx.HTTPError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def keep_busy(self, slots: int) -> None:
        """Asks for another run where fewer are under way than there are slots."""
        self._all_over()
        if len(self._runs) - len(self._over) < slots:
            # The same key until it is answered, so that a gateway killed in the middle makes one run, not two.
            headers = {"Idempotency-Key": f"soak-{self._key}"}
            try:
                answer = httpx.post(f"{self._address}/v1/runs", json={"spec": SPEC}, headers=headers, timeout=10)
            except httpx.HTTPError:
                return
            if answer.status_code == 201:
                self._runs.append(str(answer.json()["id"]))
                self._key += 1

    def wait_for_all(self) -> list[str]:
        """Waits until every run is over. Returns all of them."""
        self.until(self._all_over, "end of every run")
        listed = self.get("/v1/runs?limit=500")
        if sorted(run["id"] for run in listed["runs"]) != sorted(self._runs):
            raise SystemExit(f"asked for {self._runs}; there are {[run['id'] for run in listed['runs']]}")
        return self._runs

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Polls until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                states = [(run, (self.get(f"/v1/runs/{run}") or {}).get("state")) for run in self._runs]
                raise SystemExit(f"BROKEN: there was no {what} within {PATIENCE_SECONDS:.0f} s: {states}")
            time.sleep(0.2)

    def _all_over(self) -> bool:
        for run in self._runs:
            view = None if run in self._over else self.get(f"/v1/runs/{run}")
            if view is not None and view["state"] in ("completed", "failed", "stopped"):
                self._over.add(run)
        return len(self._over) == len(self._runs)


def _tell(fault: Fault, house: House, struck: Counter[str]) -> None:
    hit = house.strike(fault)
    print(f"{fault}{'' if hit else ' (nobody there)'}", flush=True)
    if hit:
        struck[fault.action] += 1


def _all_judged(volume: Volume, runs: list[str]) -> bool:
    return all(
        volume.run(run).verdict(SPEC["steps"], kind).exists()
        for run in runs
        for kind in parse_spec(SPEC, source="soak").weights_kinds
    )


def _undisturbed(root: Path) -> Checkpoint:
    volume = Volume(root / "undisturbed")
    calm = {**SPEC, "cadence": {"log_steps": 10, "checkpoint_steps": SPEC["steps"], "summary_steps": None}}
    write_record(volume.run("undisturbed").spec, parse_spec(calm, source="soak"))
    command = [sys.executable, "-m", "services.trainer", "--volume", str(volume.root), "--run", "undisturbed"]
    subprocess.run(command, check=True, capture_output=True)
    return CheckpointStore(volume.run("undisturbed")).open(SPEC["steps"])


def _fsck(volume: Path) -> list[str]:
    command = [sys.executable, "-m", "services.cli", "fsck", "--volume", str(volume), "--patience", "0", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return []
    return [f"tandem fsck: {json.dumps(found)}" for found in json.loads(done.stdout).get("findings", [done.stdout])]


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


if __name__ == "__main__":
    sys.exit(main())
