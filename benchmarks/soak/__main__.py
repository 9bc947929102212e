"""Everything at once, under faults: a gateway, two evaluators, two trainers, predictions, scrapes; then what must hold.

    python -m benchmarks.soak [--seconds 600] [--seed N] [--gap 4] [--steps 600] [--keep FOLDER]

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
from benchmarks.soak.predictions import Predictions
from benchmarks.soak.schedule import GAP_SECONDS, Fault, schedule
from benchmarks.soak.scrapes import Scraper
from benchmarks.soak.verdict import left_open, orphans, troubles_of_run
from benchmarks.soak.watch import Watch
from shared.layout import RunFolder, Volume
from shared.records import write_record
from shared.spec import parse_spec

TRAINERS, EVALUATORS = 2, 2
STEPS = 600
SPEC: dict[str, Any] = {
    "name": "soak",
    "batch_size": 16,
    "model": {"name": "resnet-small", "options": {"width": 2}},
    "dataset": {"kind": "shapes", "train_examples": 2_000, "test_examples": 200},
    "cadence": {"log_steps": 10, "checkpoint_steps": 10_000, "checkpoint_seconds": 0.04, "summary_steps": None},
    "retention": {"latest": 1, "best": 0},
}
PATIENCE_SECONDS = 300.0
MORE_DESCRIPTORS = 30


def main() -> int:
    """Runs the soak. Returns 1 if something that must hold does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="for how long faults strike")
    parser.add_argument("--seed", type=int, default=None, help="of the schedule; none: another one each time")
    parser.add_argument("--gap", type=float, default=GAP_SECONDS, help="seconds from fault to fault, on average")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each run")
    parser.add_argument("--keep", type=Path, help="keeps volume and logs in this folder")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed  # nosec B311 # decides nothing but when faults strike
    print(f"seed {seed}, {given.seconds:.0f} s", flush=True)
    root = given.keep or Path(tempfile.mkdtemp(prefix="soak-"))
    root.mkdir(parents=True, exist_ok=True)
    troubles = soak(root, seed=seed, seconds=given.seconds, gap=given.gap, steps=given.steps)
    for trouble, times in Counter(troubles).items():
        print(f"BROKEN: {trouble}" + (f" ({times} times)" if times > 1 else ""))
    if troubles:
        again = f"--seed {seed} --seconds {given.seconds:g} --gap {given.gap:g}"
        print(f"{len(troubles)} troubles; see {root}; the same schedule: {again}")
        return 1
    if given.keep is None:
        shutil.rmtree(root)
    print("all that must hold holds")
    return 0


def soak(root: Path, *, seed: int, seconds: float, gap: float, steps: int) -> list[str]:
    """Starts all, lets faults strike, waits for the end of every run, stops all. Returns what is wrong."""
    volume = Volume(root / "volume")
    ports = _free_ports(1 + EVALUATORS)
    house = House(volume=volume.root, logs=root, port=ports[0], metrics_ports=ports[1:], slots=TRAINERS)
    roles = ["gateway", *(f"evaluator-{number}" for number in range(EVALUATORS))]
    addresses = {role: f"http://127.0.0.1:{port}" for role, port in zip(roles, ports, strict=True)}
    predictions = Predictions(house=house, address=addresses["gateway"])
    scraper = Scraper(house=house, addresses=addresses)
    watch = Watch(volume=volume)
    load = (predictions, scraper, watch)
    spec = SPEC | {"steps": steps}
    api = Api(addresses["gateway"], spec)
    for each in (house, *load):
        each.start()
    try:
        api.until(lambda: api.get("/readyz") is not None, "ready gateway")
        struck, at_first = _let_faults_strike(
            house, api, schedule(seed=seed, seconds=seconds, roles=house.roles, gap=gap), seconds
        )
        runs = api.wait_for_all()
        folders = [volume.run(run) for run in runs]
        api.until(lambda: _all_judged(folders, spec), "verdict on every last checkpoint")
        for each in load:
            each.stop()
        held = house.descriptors()
        house.stop()
    finally:
        for each in load:
            each.stop()
        house.kill_all()
    troubles = [*predictions.troubles, *scraper.troubles, *watch.troubles, *house.troubles]
    for role, links in held.items():
        troubles += [f"{role} keeps {name} open" for name in left_open(volume, links)]
        if len(links) > len(at_first[role]) + MORE_DESCRIPTORS:
            troubles.append(f"{role} has {len(links)} descriptors; at first there were {len(at_first[role])}")
    undisturbed = _undisturbed(root, spec)
    for folder in folders:
        troubles += [f"run {folder.id}: {it}" for it in troubles_of_run(folder, undisturbed, readers=EVALUATORS)]
    troubles += predictions.against_exports(volume)
    troubles += [f"nobody removed {name}" for name in orphans(volume)]
    troubles += [f"{role} was never scraped" for role in house.roles if scraper.scrapes[role] == 0]
    troubles += _fsck(volume.root)
    print(
        f"{sum(struck.values())} faults ({', '.join(f'{n} {name}' for name, n in sorted(struck.items()))}); "
        f"{len(runs)} runs; predictions {dict(predictions.answers)} by {predictions.models()} models; "
        f"{len(watch.verdicts)} verdicts; scrapes {dict(sorted(scraper.scrapes.items()))}"
    )
    return troubles


def _let_faults_strike(
    house: House, api: "Api", faults: list[Fault], seconds: float
) -> tuple[Counter[str], dict[str, list[str]]]:
    """Returns how often each fault struck, and what was open before the first."""
    began = time.monotonic()
    struck: Counter[str] = Counter()
    at_first: dict[str, list[str]] = {}
    for fault in [*faults, None]:
        until = began + (seconds if fault is None else fault.at)
        while (left := until - time.monotonic()) > 0:
            api.keep_busy(TRAINERS)
            time.sleep(min(left, 0.5))
        at_first = at_first or house.descriptors()
        if fault is not None:
            hit = house.strike(fault)
            struck[fault.action] += hit
            print(f"{fault}{'' if hit else ' (nobody there)'}", flush=True)
    return struck, at_first


class Api:
    """The gateway's API, asked again when the gateway is not there. Remembers the runs that it asked for."""

    def __init__(self, address: str, spec: dict[str, Any]) -> None:
        self._address = address
        self._spec = spec
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
                answer = httpx.post(f"{self._address}/v1/runs", json={"spec": self._spec}, headers=headers, timeout=10)
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


def _all_judged(folders: list[RunFolder], spec: dict[str, Any]) -> bool:
    return all(
        folder.verdict(spec["steps"], kind).exists()
        for folder in folders
        for kind in parse_spec(spec, source="soak").weights_kinds
    )


def _undisturbed(root: Path, spec: dict[str, Any]) -> RunFolder:
    volume = Volume(root / "undisturbed")
    folder = volume.run("undisturbed")
    calm = spec | {"cadence": spec["cadence"] | {"checkpoint_seconds": None}}
    write_record(folder.spec, parse_spec(calm, source="soak"))
    for work in (["services.trainer", "--run", folder.id], ["services.evaluator", "--once"]):
        command = [sys.executable, "-m", work[0], "--volume", str(volume.root), *work[1:]]
        subprocess.run(command, check=True, capture_output=True)
    return folder


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
