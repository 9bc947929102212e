"""The soak of `make soak`, a short one: all at work with TensorFlow, under eleven faults of a fixed schedule."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A seed whose faults are of every kind, and strike everybody.
SEED, SECONDS, GAP, STEPS = 297, 15, 1.5, 300


@pytest.mark.slow
def test_f12_f34_f45_f49_a_short_soak_breaks_no_promise(tmp_path: Path) -> None:
    flags = {"--seed": SEED, "--seconds": SECONDS, "--gap": GAP, "--steps": STEPS, "--keep": tmp_path / "kept"}
    words = [str(word) for flag in flags.items() for word in flag]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    sys.stderr.write(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all that must hold holds\n")
