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
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.soak.household import Household
from benchmarks.soak.schedule import GAP_SECONDS, Fault, schedule
from benchmarks.soak.verdict import orphans, troubles_of_run

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
# Besides those that are open without faults: connections that are just being closed, files of a commit.
MORE_DESCRIPTORS = 8


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
        again = f"--seed {seed} --seconds {given.seconds:g} --gap {given.gap:g} --steps {given.steps}"
        print(f"{len(troubles)} troubles; see {root}; the same schedule: {again}")
        return 1
    if given.keep is None:
        shutil.rmtree(root)
    print("all that must hold holds")
    return 0


def soak(root: Path, *, seed: int, seconds: float, gap: float, steps: int) -> list[str]:
    """Lets faults strike a house until the time is over and every run complete. Returns what is wrong."""
    spec = SPEC | {"steps": steps}
    disturbed = Household(root=root, spec=spec, trainers=TRAINERS, evaluators=EVALUATORS)
    with disturbed.at_work():
        faults = schedule(seed=seed, seconds=seconds, roles=disturbed.house.roles, gap=gap)
        struck = _let_faults_strike(disturbed, faults, seconds)
        folders = disturbed.see_through()
    # One run without faults: what it comes to, and what a gateway, an evaluator and a trainer need to have open.
    calmly = spec | {"cadence": spec["cadence"] | {"checkpoint_seconds": None}}
    calm = Household(root=root / "undisturbed", spec=calmly, trainers=1, evaluators=1)
    with calm.at_work():
        calm.api.keep_busy(1)
        (undisturbed,) = calm.see_through()
    troubles = [*disturbed.troubles(), *(f"undisturbed: {trouble}" for trouble in calm.troubles())]
    for kind, most in disturbed.held.items():
        if most > calm.held[kind] + MORE_DESCRIPTORS:
            troubles.append(f"{kind}: {most} descriptors are open; undisturbed there are {calm.held[kind]}")
    for folder in folders:
        troubles += [f"run {folder.id}: {it}" for it in troubles_of_run(folder, undisturbed, readers=EVALUATORS)]
    troubles += disturbed.predictions.against_models()
    troubles += [f"nobody removed {name}" for name in orphans(disturbed.volume)]
    troubles += [f"{role} was never scraped" for role in disturbed.house.roles if not disturbed.scraper.scrapes[role]]
    troubles += _fsck(disturbed.volume.root)
    print(
        f"{struck.total()} faults ({', '.join(f'{n} {name}' for name, n in sorted(struck.items()))}); "
        f"{len(folders)} runs; {len(disturbed.watch.verdicts)} verdicts; "
        f"predictions {dict(disturbed.predictions.answers)} by {disturbed.predictions.compared()}; "
        f"scrapes {dict(sorted(disturbed.scraper.scrapes.items()))}; descriptors "
        + ", ".join(f"{kind} {most} (undisturbed {calm.held[kind]})" for kind, most in sorted(disturbed.held.items()))
    )
    return troubles


def _let_faults_strike(household: Household, faults: list[Fault], seconds: float) -> Counter[str]:
    """Returns how often each fault struck."""
    began = time.monotonic()
    struck: Counter[str] = Counter()
    for fault in [*faults, None]:
        until = began + (seconds if fault is None else fault.at)
        while (left := until - time.monotonic()) > 0:
            household.api.keep_busy(TRAINERS)
            time.sleep(min(left, 0.5))
        if fault is not None:
            hit = household.house.strike(fault)
            struck[fault.action] += hit
            print(f"{fault}{'' if hit else ' (nobody there)'}", flush=True)
    return struck


def _fsck(volume: Path) -> list[str]:
    command = [sys.executable, "-m", "services.cli", "fsck", "--volume", str(volume), "--patience", "0", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return []
    return [f"tandem fsck: {json.dumps(found)}" for found in json.loads(done.stdout).get("findings", [done.stdout])]


if __name__ == "__main__":
    sys.exit(main())
