"""Evaluator and gateway on a volume that belongs to somebody else (the trainer's test is in test_trainer.py)."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("service", ["evaluator", "gateway"])
def test_f42_a_service_names_the_volume_that_it_cannot_write_to_and_its_user(service: str) -> None:
    # Root may write everywhere, so a service that root starts becomes somebody else first.
    user = os.getuid() or 65_534
    code = (
        f"import os, sys; from services.{service}.__main__ import main; os.setuid({user}); sys.exit(main(sys.argv[1:]))"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", code, "--volume", folder],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert list(Path(folder).iterdir()) == []
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{service}: {folder}")
    assert f"cannot be written to by user {user}: Permission denied" in line
