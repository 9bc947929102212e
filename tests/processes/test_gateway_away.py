"""The gateway is killed and away for a while, while runs start, train, pause and end: the next one finds all as it is.

The second gateway is there after 0, 20 and 60 s of the default settings. What an absence can run into are settings in
seconds, so they and the absence are shortened together; TANDEM_TESTS_AWAY=real lets the time really pass.
"""

import itertools
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from shared.layout import Volume
from tests.processes.test_gateway import GatewayProcess, events, gateway, trainers, volume, wait_for

__all__ = ["gateway", "volume"]

REAL = os.environ.get("TANDEM_TESTS_AWAY") == "real"
SCALE = 1.0 if REAL else 50.0
SETTINGS = {
    "TANDEM_GATEWAY_SILENCE_SECONDS": str(30 / SCALE),
    "TANDEM_GATEWAY_STOP_GRACE_SECONDS": str(max(5.0, 60 / SCALE)),
}


def starts(volume: Path, run: str) -> list[int]:
    """The fencing number of each trainer that has begun to work on a run, by the trainers' own word."""
    path = Volume(volume).run(run).trainer_events
    if not path.exists():
        return []
    told = [json.loads(line) for line in path.read_text().splitlines()]
    return [event["details"]["fence"] for event in told if event["kind"] == "started"]


def phase(volume: Path, run: str) -> str:
    return str(json.loads(Volume(volume).run(run).status.read_text())["phase"])


def check_events(there: GatewayProcess, volume: Path, run: str, *, asked: int) -> None:
    """Nothing that was asked for, begun or ended is missing from a run's events, and nothing stands there twice."""
    told = events(volume, run)
    kinds = [event["kind"] for event in told]
    assert kinds.count("created") == 1
    assert [each["details"]["generation"] for each in told if each["kind"] == "desired"] == list(range(1, asked + 1))
    states = [(each["details"]["from"], each["details"]["to"]) for each in told if each["kind"] == "state"]
    assert states[0][0] is None
    assert all(before[1] == after[0] for before, after in itertools.pairwise(states))
    assert states[-1][1] == there.run(run)["state"]
    for kind in ("assigned", "ended"):
        fences = [each["details"]["fence"] for each in told if each["kind"] == kind]
        assert fences == sorted(set(fences))
    began = starts(volume, run)
    assert began == sorted(set(began)), "a trainer was started twice"
    assert began == [each["details"]["fence"] for each in told if each["kind"] == "assigned"]
    shown = there.get(f"/v1/runs/{run}/events?limit=1000").json()["events"]
    assert [each["kind"] for each in shown if each["service"] == "gateway"] == kinds


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 20, 60])
def test_f28_a_gateway_that_was_away_finds_every_run_as_it_is(gateway: Any, volume: Path, seconds: float) -> None:
    first = gateway("--slots", "6", **SETTINGS).ready()
    trains = first.start(labels={"pace": "0.02"})
    holds, releases, stops = (first.start(labels={"pace": "0.02"}) for _ in range(3))
    completes = first.start(steps=30, labels={"gate": "10"})
    for run in (trains, holds, releases, stops):
        first.reaches(run, "running", step=3)
    first.reaches(completes, "running", step=9)
    pids = {slot: trainers(volume, slot) for slot in (f"slot-{number}" for number in range(5))}
    slot = {run: first.run(run)["slot"] for run in (trains, holds)}

    first.post(f"/v1/runs/{holds}:pause", {"kind": "hold"})
    first.post(f"/v1/runs/{releases}:pause", {"kind": "release"})
    first.post(f"/v1/runs/{stops}:stop")
    begins = first.start(labels={"pace": "0.02"})
    first.end(signal.SIGKILL)
    back = time.monotonic() + seconds / SCALE
    (Volume(volume).run(completes).root / "gate").touch()
    if seconds:  # all that trainers can do alone is done while nobody looks
        wait_for(lambda: [phase(volume, run) for run in (holds, releases, stops, completes)] == DONE)
    wait_for(lambda: time.monotonic() >= back, seconds=seconds + 30)

    second = gateway("--slots", "6", **SETTINGS).ready()
    assert refused(volume)
    second.reaches(trains, "running", step=4)
    held = second.reaches(holds, "paused")
    assert second.reaches(releases, "paused")["slot"] is None
    assert second.reaches(stops, "stopped")["step"] >= 3
    assert second.reaches(completes, "completed")["step"] == 30
    second.reaches(begins, "running", step=1)
    assert held["slot"] == slot[holds]
    for run in (trains, holds):
        assert trainers(volume, slot[run]) == pids[slot[run]], "the very process of before"

    second.post(f"/v1/runs/{holds}:resume")
    second.post(f"/v1/runs/{releases}:resume")
    second.reaches(holds, "running", step=held["step"] + 1)
    second.reaches(releases, "running", step=1)
    assert trainers(volume, slot[holds]) == pids[slot[holds]]
    for run, asked in ((trains, 0), (holds, 2), (releases, 2), (stops, 1), (completes, 0), (begins, 0)):
        check_events(second, volume, run, asked=asked)
        assert starts(volume, run) == ([1, 2] if run == releases else [1])
    for log in (volume / "gateway" / "slots").glob("*.log"):
        assert "TWICE" not in log.read_text()


DONE = ["holding", "released", "stopped", "completed"]


def refused(volume: Path) -> bool:
    """Whether one more gateway is sent away."""
    other = GatewayProcess(volume)
    other.process.communicate(timeout=30)
    return other.process.returncode == 2
