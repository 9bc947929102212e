"""Who may import whom, checked by import-linter and, for TensorFlow, also by importing and looking."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
heavy = sorted({name.partition(".")[0] for name in sys.modules} & {"tensorflow", "keras", "tf2onnx", "jax", "torch"})
print(len(names), *heavy)
"""


def test_import_contracts_are_kept() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    outcome = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("package", ["services.gateway", "services.cli"])
def test_service_without_tensorflow_never_loads_it(package: str) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, package], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    count, *heavy = outcome.stdout.split()
    assert int(count) > 5, "the modules were not found"
    assert heavy == []
