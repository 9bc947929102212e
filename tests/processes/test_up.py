"""`tandem up` with real processes: a tiny run, stopped by Ctrl-C in its middle, gone on with to its end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.cli.up.leftovers import kill_marked, marked

DEADLINE = 180.0
SERVICES = ("services.gateway", "services.evaluator", "services.trainer")
RECIPE = """
name: tiny
steps: 600
batch_size: 8
dataset: {kind: shapes, train_examples: 200, test_examples: 60}
learning_rate: {kind: constant, rate: 0.01}
cadence: {log_steps: 5, checkpoint_steps: 50}
"""


class Up:
    """One `tandem up` in a process of its own, without a terminal."""

    def __init__(self, volume: Path, recipe: Path, output: Path) -> None:
        self._output = output
        command = [sys.executable, "-m", "services.cli", "up", "--recipe", str(recipe), "--volume", str(volume)]
        with output.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def text(self) -> str:
        return self._output.read_text()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert self.process.poll() is None, f"it ended: {self.text}"
            assert time.monotonic() < deadline, f"waited in vain: {self.text}"
            time.sleep(0.05)

    def end(self) -> int:
        return self.process.wait(DEADLINE)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "volume"
    for service in SERVICES:
        kill_marked(tmp_path / "volume", service)


def living(volume: Path) -> list[str]:
    return [service for service in SERVICES for _ in marked(volume, service)]


@pytest.mark.slow
def test_run_is_stopped_by_ctrl_c_and_gone_on_with_to_a_classified_picture(volume: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE)

    first = Up(volume, recipe, tmp_path / "first.txt")
    first.until(lambda: list(volume.glob("runs/*/checkpoints/50/manifest.json")))
    assert sorted(living(volume)) == sorted(SERVICES)
    os.kill(first.process.pid, signal.SIGINT)
    assert first.end() == 0, first.text
    assert living(volume) == []
    assert "running it again goes on from here" in first.text
    (run,) = (volume / "runs").iterdir()
    status = json.loads((run / "trainer" / "status.json").read_text())
    assert status["phase"] == "released"
    assert (run / "checkpoints" / str(status["step"]) / "manifest.json").exists()

    second = Up(volume, recipe, tmp_path / "second.txt")
    second.until(lambda: f"going on    {run.name}, from step {status['step']} of 600" in second.text)
    assert second.end() == 0, second.text
    assert living(volume) == []
    assert [each.name for each in (volume / "runs").iterdir()] == [run.name]
    assert re.search(
        r"^evaluation  step 600: precision at 1 EMA 0.9999 0\.\d+.*, raw 0\.\d+", second.text, re.MULTILINE
    )
    picture = re.search(r"^picture     (\S+)", second.text, re.MULTILINE)
    assert picture is not None and Path(picture.group(1)).read_bytes().startswith(b"\x89PNG")
    assert re.search(r"^answer      \w+ [01]\.\d+, ", second.text, re.MULTILINE)
    assert re.search(r"^metrics     http://127\.0\.0\.1:\d+/metrics$", second.text, re.MULTILINE)


@pytest.mark.slow
def test_second_ctrl_c_kills_everything_at_once(volume: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.replace("steps: 600", "steps: 1000000", 1))
    up = Up(volume, recipe, tmp_path / "output.txt")
    up.until(lambda: "services.trainer" in living(volume))
    for service in SERVICES:  # none of them can stop in order now
        for pid in marked(volume, service):
            os.kill(pid, signal.SIGSTOP)
    os.kill(up.process.pid, signal.SIGINT)
    up.until(lambda: "Ctrl-C again kills" in up.text)
    os.kill(up.process.pid, signal.SIGINT)
    assert up.end() == 130
    deadline = time.monotonic() + DEADLINE
    while living(volume):
        assert time.monotonic() < deadline
        time.sleep(0.05)
