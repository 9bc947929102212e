import os
import subprocess
import sys
from pathlib import Path

import pytest

TEST = """
import pytest

def test_without_a_program():
    pytest.skip("no such program")

@pytest.mark.photographs
def test_of_photographs():
    pytest.skip("no photographs")

@pytest.mark.xfail(strict=True)
def test_that_is_known_to_fail():
    assert False
"""


@pytest.mark.parametrize(("ci", "counts"), [("true", "1 failed, 1 skipped, 1 xfailed"), ("", "2 skipped, 1 xfailed")])
def test_in_ci_nothing_skips_but_what_was_not_asked_for(root: Path, tmp_path: Path, ci: str, counts: str):
    (tmp_path / "test_some.py").write_text(TEST)
    (tmp_path / "conftest.py").write_text((root / "tests/conftest.py").read_text())
    settings = '[tool.pytest.ini_options]\nmarkers = ["photographs: of cats"]\n'
    (tmp_path / "pyproject.toml").write_text(settings)
    environment = {name: value for name, value in os.environ.items() if name != "TANDEM_CIFAR10_DIR"}
    environment |= {"CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plugins take seconds to load, and none is needed
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_some.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert counts in ran.stdout, ran.stdout + ran.stderr
    assert ("may not skip in CI. Skipped: no such program" in ran.stdout) == bool(ci)
