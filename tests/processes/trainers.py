"""Trainers as real processes: starting them, waiting for what their files say, and ending them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shared.checkpoints import CheckpointStore
from shared.layout import RunFolder, Volume
from shared.records import TrainerStatus, read_record_or_none, write_record
from shared.spec import RunSpec

ROOT = Path(__file__).parents[2]
NUMPY = "tests.trainer.numpy_trainer"
REAL = "services.trainer"


class TrainerProcess:
    """One trainer process on one run, begun by the command `within`; its output goes to a file beside the volume."""

    def __init__(
        self, volume: Volume, *flags: str, program: str = NUMPY, within: Sequence[str] = (), **environment: str
    ) -> None:
        self.output = volume.root.parent / f"trainer-{time.monotonic_ns()}.log"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*within, sys.executable, "-m", program, "--volume", str(volume.root), *flags],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, *, seconds: float = 60.0) -> int:
        """Waits for the end. Returns the exit status, negative for a signal."""
        return self.process.wait(seconds)

    def text(self) -> str:
        return self.output.read_text()


@contextmanager
def training(
    volume: Volume, *flags: str, program: str = NUMPY, within: Sequence[str] = (), **environment: str
) -> Iterator[TrainerProcess]:
    """A trainer process that does not outlive the block."""
    trainer = TrainerProcess(volume, *flags, program=program, within=within, **environment)
    try:
        yield trainer
    finally:
        if trainer.process.poll() is None:
            trainer.process.kill()
            trainer.process.wait()


def make_run(volume: Volume, run: str, spec: RunSpec) -> RunFolder:
    folder = volume.run(run)
    write_record(folder.spec, spec)
    return folder


def status_of(folder: RunFolder) -> TrainerStatus | None:
    return read_record_or_none(folder.status, TrainerStatus)


def until(condition: Callable[[], bool], *, what: TrainerProcess, seconds: float = 60.0, ends: bool = False) -> None:
    """Polls until the condition holds, while the process lives (unless it may end)."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert ends or what.process.poll() is None, what.text()
        assert time.monotonic() < deadline, what.text()
        time.sleep(0.005)


def until_step(folder: RunFolder, step: int, *, what: TrainerProcess) -> None:
    """Waits until a checkpoint at `step` or later is committed."""
    until(lambda: max(CheckpointStore(folder).steps(), default=-1) >= step, what=what)


def bytes_at(folder: RunFolder, step: int) -> dict[str, bytes]:
    """Every file of the checkpoint but its manifest, which carries times; each is checked against its digest."""
    checkpoint = CheckpointStore(folder).open(step)
    checkpoint.verify()
    return {name: (checkpoint.folder / name).read_bytes() for name in checkpoint.manifest.files}
