"""Run as a process of its own: takes over a snapshot, makes the steps that are left, and writes down what came out.

    python tests/trainer/resume.py SPEC.json SNAPSHOT STEP UNTIL RESULT

SNAPSHOT and RESULT are folders with a safetensors file for each group.
"""

import os
import sys
from pathlib import Path

import numpy as np
import safetensors.numpy

from services.trainer.engine import Batch, Groups
from shared.checkpoints import encode_arrays
from shared.devices import prepare_tensorflow
from shared.spec import RunSpec

IMAGE_SHAPE = (12, 12, 3)
CLASSES = 4


def batch(spec: RunSpec, step: int) -> Batch:
    """A batch as a function of the step."""
    rng = np.random.default_rng(step)
    images = rng.integers(0, 256, (spec.batch_size, *IMAGE_SHAPE), dtype=np.uint8)
    return Batch(step=step, images=images, labels=rng.integers(0, CLASSES, spec.batch_size).astype(np.int32))


def write_groups(folder: Path, groups: Groups) -> None:
    folder.mkdir()
    for kind, arrays in groups.items():
        (folder / f"{kind}.safetensors").write_bytes(encode_arrays(arrays))


def read_groups(folder: Path) -> Groups:
    return {path.name.removesuffix(".safetensors"): safetensors.numpy.load_file(path) for path in folder.iterdir()}


def main() -> None:
    prepare_tensorflow(os.environ, device="cpu")
    from services.trainer.step import build_engine

    spec_path, snapshot, step, until, result = sys.argv[1:]
    spec = RunSpec.model_validate_json(Path(spec_path).read_bytes())
    engine = build_engine(spec, classes=CLASSES, image_shape=IMAGE_SHAPE, train_examples=160)
    engine.restore(read_groups(Path(snapshot)), step=int(step))
    engine.train([batch(spec, number) for number in range(int(step), int(until))])
    write_groups(Path(result), engine.snapshot())


if __name__ == "__main__":
    main()
