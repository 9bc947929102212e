"""The whole trainer as a program, with the NumPy engine in TensorFlow's place: for tests that start real processes.

Run it as `python -m tests.trainer.numpy_trainer` with the trainer's own flags. SECONDS_PER_STEP slows it down;
FULL_DISK names a file during whose existence no checkpoint can be written; AS_USER is the number of a user to become.
From the step HUNGRY_FROM on it takes 32 MB with each step, of 256 MB that the kernel leaves it.
"""

import errno
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from services.trainer.__main__ import run
from services.trainer.command import Parts
from services.trainer.engine import Engine
from services.trainer.handover import become_evaluator
from shared.data.examples import Dataset
from shared.records import Device
from shared.spec import RunSpec
from tests.trainer.numpy_engine import NumpyEngine, open_small_dataset


def build_engine(spec: RunSpec, dataset: Dataset) -> Engine:
    hungry = os.environ.get("HUNGRY_FROM")
    return NumpyEngine(
        spec,
        before_step=(lambda step: None) if hungry is None else eats_from(int(hungry)),
        seconds_per_step=float(os.environ.get("SECONDS_PER_STEP", "0")),
    )


def eats_from(first: int) -> Callable[[int], None]:
    eaten: list[bytearray] = []

    def eat(step: int) -> None:
        if step == first:
            now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + 2**28, resource.getrlimit(resource.RLIMIT_AS)[1]))
        if step >= first:
            eaten.append(bytearray(2**25))

    return eat


def devices() -> tuple[Device, ...]:
    return (Device(name="cpu:0", kind="cpu"),)


def fill_disk_while_there(mark: Path) -> None:
    """Lets every write into a checkpoint fail with ENOSPC for as long as `mark` exists."""
    original = os.write

    def write(descriptor: int, data: bytes) -> int:
        if mark.exists() and "/checkpoints/" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(descriptor, data)

    os.write = write


if __name__ == "__main__":
    if user := os.environ.get("AS_USER"):
        os.setuid(int(user))
    if mark := os.environ.get("FULL_DISK"):
        fill_disk_while_there(Path(mark))
    sys.exit(
        run(
            sys.argv[1:],
            make_parts=lambda _: Parts(
                open_dataset=open_small_dataset,
                build_engine=build_engine,
                devices=devices,
                evaluate=become_evaluator,
            ),
        )
    )
