"""The arithmetic of a training step, and what this machine can do of it at most: a large matrix product.

Run as a process of its own, since it imports TensorFlow: prints both as JSON.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from shared.devices import prepare_tensorflow
from shared.spec import RunSpec

SIDE = 2048
SECONDS = 2.0


@dataclass(frozen=True)
class Peak:
    """Operations of a step's convolutions and matrix products, and operations a second of a large matrix product.

    A multiplication and an addition are two operations; all in float32.
    """

    step_operations: float
    operations_per_second: float

    def share(self, step_seconds: float) -> float:
        """The share of the machine's speed that a step of so many seconds reaches."""
        return self.step_operations / step_seconds / self.operations_per_second


def operations(model: Any, *, batch_size: int) -> int:
    """Those of one step: forwards, and backwards to the weights and to what each layer was given.

    Args:
        model: A network of dense layers, and convolutions that keep a picture's size; nothing else is counted.
        batch_size: Pictures in a step.
    """
    total, first = 0, True
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        places = 1
        for extent in layer.input.shape[1:-1]:
            places *= extent
        forwards = 2 * places * batch_size
        for extent in kernel.shape:
            forwards *= extent
        # Nobody asks for a gradient by the pictures.
        total += forwards * (2 if first else 3)
        first = False
    return total


def find(*, batch_size: int) -> Peak:
    """Of the tutorial's network, measured in a process of its own.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    command = [sys.executable, "-m", "benchmarks.training.peak", str(batch_size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Peak(**json.loads(done.stdout))


def main() -> None:
    """Prints a `Peak`."""
    prepare_tensorflow(os.environ, device="cpu")
    # TensorFlow reads the environment when it is imported.
    import tensorflow as tf  # noqa: PLC0415

    from shared.ml.models import build_model  # noqa: PLC0415
    from shared.ml.preprocess import view_shape  # noqa: PLC0415

    spec = RunSpec()
    shape = view_shape(spec.augment, (32, 32, 3))
    model = build_model(spec.model, image_shape=shape, classes=10, seed=0)
    one = tf.random.stateless_normal([SIDE, SIDE], [1, 2])
    product = tf.function(lambda a: tf.reduce_sum(tf.matmul(a, a)))
    product(one).numpy()
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        product(one).numpy()
        count += 1
    speed = 2 * SIDE**3 * count / (time.perf_counter() - began)
    peak = {"step_operations": operations(model, batch_size=int(sys.argv[1])), "operations_per_second": speed}
    print(json.dumps(peak))


if __name__ == "__main__":
    main()
