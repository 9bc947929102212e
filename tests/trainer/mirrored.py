"""Run as a process of its own: trains on several logical devices of one processor, and writes down what came out.

    python -m tests.trainer.mirrored PLAN.json RESULT

The plan is a list of trainings: `name`, `spec`, `stops` (the steps at which a snapshot is written), and `after`, the
snapshot to go on from, if any. RESULT is a folder that gets each snapshot as `<name>-<step>`, and `told.json`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from shared.devices import prepare_tensorflow
from shared.errors import SpecError
from shared.spec import RunSpec
from tests.trainer import resume

LOGICAL_DEVICES = 4


def train(training: dict[str, Any], result: Path) -> dict[str, Any]:
    from services.trainer.step import build_engine

    spec = RunSpec.model_validate(training["spec"])
    try:
        engine = build_engine(spec, classes=resume.CLASSES, image_shape=resume.IMAGE_SHAPE, train_examples=160)
    except SpecError as error:
        return {"error": str(error)}
    if training.get("after"):
        engine.restore(resume.read_groups(result / training["after"]), step=int(training["after"].rpartition("-")[2]))
    losses = []
    for stop in training["stops"]:
        while engine.step < stop:
            engine.train([resume.batch(spec, engine.step)])
            losses.append(engine.losses().loss)
        resume.write_groups(result / f"{training['name']}-{stop}", engine.snapshot())
    told = {"losses": losses, "numerics": engine.numerics, "average_loss": engine.losses().average_loss}
    if training.get("look"):
        summary = engine.summarize(resume.batch(spec, engine.step))
        told["gradients"] = {name: histogram.squares for name, histogram in summary.gradients.items()}
    return told


def main() -> None:
    prepare_tensorflow(os.environ, device="cpu")
    from services.trainer.devices import device_names, divide_processor

    divide_processor(LOGICAL_DEVICES)
    plan, result = Path(sys.argv[1]), Path(sys.argv[2])
    told: dict[str, Any] = {training["name"]: train(training, result) for training in json.loads(plan.read_text())}
    (result / "told.json").write_text(json.dumps({**told, "devices": device_names()}))


if __name__ == "__main__":
    main()
