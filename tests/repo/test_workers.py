"""Several workers test at a time, but for what must be alone."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import json
import time
from pathlib import Path

import pytest

@pytest.mark.parametrize("number", range(4))
def test_any(number):
    note(False)

@pytest.mark.alone
@pytest.mark.parametrize("number", range(2))
def test_alone(number):
    note(True)

def note(alone):
    began = time.monotonic()
    time.sleep(0.1)
    with Path("told").open("a") as file:
        file.write(json.dumps([alone, began, time.monotonic()]) + "\\n")
"""


def test_nothing_is_tested_beside_a_test_that_must_be_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((root / "tests/conftest.py").read_text())
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["alone: x", "slow: x"]\n')
    workers = ["-p", "xdist.plugin", "--numprocesses", "2", "--dist", "load"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *workers]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # others take seconds to load
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "12 passed" in ran.stdout, ran.stdout + ran.stderr
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    pairs = [pair for pair in itertools.combinations(told, 2) if pair[0][1] < pair[1][2] and pair[1][1] < pair[0][2]]
    assert pairs, "two workers test at a time"
    assert [pair for pair in pairs if pair[0][0] or pair[1][0]] == []
