import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture
def check(root: Path, tmp_path: Path):
    def run(*arguments: str) -> str:
        """What the health check complains about; nothing where all is well."""
        environment = os.environ | {"TANDEM_VOLUME": str(tmp_path)}
        ran = subprocess.run(
            [sys.executable, root / "docker/heartbeat.py", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert bool(ran.returncode) == bool(ran.stderr)
        return ran.stderr

    return run


def beat(path: Path, *, age: float = 0.0, **record: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    os.utime(path, (time.time() - age, time.time() - age))


def test_an_evaluator_is_known_by_its_host_whatever_name_it_took(check, tmp_path: Path):
    beat(tmp_path / "evaluators/evaluator/status.json", host="another", age=999)
    assert f"no evaluator of {platform.node()}" in check("evaluator")
    beat(tmp_path / "evaluators/evaluator-2/status.json", host=platform.node(), age=5)
    assert check("evaluator") == ""
    beat(tmp_path / "evaluators/evaluator-2/status.json", host=platform.node(), age=75)
    assert "evaluator-2/status.json was last written 75 s ago" in check("evaluator")


def test_a_trainer_is_judged_by_the_run_that_its_slot_was_given(check, tmp_path: Path):
    assert check("trainer", "trainer-0") == ""
    beat(tmp_path / "slots/trainer-0/assignment.json", run="some-run")
    assert check("trainer", "trainer-0") == ""
    beat(tmp_path / "runs/some-run/trainer/status.json", age=5)
    assert check("trainer", "trainer-0") == ""
    beat(tmp_path / "runs/some-run/trainer/status.json", age=90)
    assert "was last written 90 s ago" in check("trainer", "trainer-0")


def test_in_an_evaluators_turn_the_one_in_the_slot_has_to_beat(check, tmp_path: Path):
    beat(tmp_path / "slots/trainer-0/assignment.json", run="some-run", task="evaluate")
    beat(tmp_path / "runs/some-run/trainer/status.json", age=90)
    beat(tmp_path / "evaluators/evaluator/status.json", host="another", age=1)
    assert "trainer/status.json was last written 90 s ago" in check("trainer", "trainer-0")
    beat(tmp_path / "evaluators/evaluator-2/status.json", host=platform.node(), age=5)
    assert check("trainer", "trainer-0") == ""
    beat(tmp_path / "evaluators/evaluator-2/status.json", host=platform.node(), age=75)
    assert "evaluator-2/status.json was last written 75 s ago" in check("trainer", "trainer-0")
