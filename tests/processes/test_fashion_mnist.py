"""The recipe for Fashion-MNIST, shortened: real files, the real trainer, the real evaluator."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared import recipes
from shared.layout import Volume
from shared.records import Verdict, read_record
from shared.spec import overlay, parse_spec
from tests.processes.trainers import REAL, ROOT, make_run, training

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FOLDER = Path(os.environ.get("TANDEM_FASHION_MNIST_DIR", DEBIAN))


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no Fashion-MNIST at {FOLDER} (TANDEM_FASHION_MNIST_DIR names it)")
def test_the_recipe_for_fashion_mnist_learns_what_clothes_look_like(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    changes = {"steps": 80, "dataset": {"path": str(FOLDER)}, "cadence": {"checkpoint_steps": 80}}
    spec = parse_spec(overlay(recipes.load("fashion-mnist"), changes), source="fashion-mnist")
    run = make_run(volume, "clothes", spec)
    with training(volume, "--run", "clothes", program=REAL) as trainer:
        assert trainer.end(seconds=280) == 0, trainer.text()
    command = [sys.executable, "-m", "services.evaluator", "--volume", str(volume.root), "--once"]
    judging = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert judging.returncode == 0, judging.stderr

    verdict = read_record(run.verdict(80, "ema-0.99"), Verdict)
    assert verdict.examples == 10_000
    assert verdict.precision_at_1 is not None
    assert verdict.precision_at_1 > 0.5, "a tenth would be chance; the whole recipe reaches 0.90"
    assert (run.export(80) / "model.onnx").is_file()
