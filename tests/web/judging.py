"""A run whose checkpoints are linear models of `shapes`, judged by the evaluator's own loop, without TensorFlow."""

import shutil
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from services.evaluator.figures import Tally
from services.evaluator.judging import Judged
from shared.answers import Answers
from shared.checkpoints import Arrays, CheckpointStore, spec_digest
from shared.data.catalog import open_dataset
from shared.data.examples import Dataset
from shared.layout import RunFolder, Volume
from shared.records import Desired, TrainerStatus, write_record
from shared.spec import DatasetSpec, EmaSpec, RunSpec
from tests.evaluator.evaluator_parts import Evaluator
from tests.statuses import trainer_status

SPEC = RunSpec(
    name="judged-shapes",
    steps=300,
    dataset=DatasetSpec(kind="shapes", train_examples=600, test_examples=400),
    ema=EmaSpec(decays=(0.9,)),
)
STEPS = (100, 200, 300)
EMA = "ema-0.9"
Pixels = npt.NDArray[np.float32]


class LinearJudge:
    """Judges weights that are one matrix, which pictures as rows of numbers are multiplied with."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def judge(
        self, spec: RunSpec, weights: Arrays, *, source: str, wanted: Callable[[], bool], averaged: bool = False
    ) -> Judged:
        split = self._dataset.test
        images, labels = split.gather(np.arange(len(split), dtype=np.int64))
        logits = rows(images) @ weights["kernel"]
        tally = Tally(classes=self._dataset.classes, top_k=spec.evaluation.top_k)
        tally.add(logits, labels)
        return Judged(
            figures=tally.figures(),
            answers=Answers(*tally.answers(), dataset_fingerprint=self._dataset.fingerprint),
            seconds=0.1,
            images=images[:1],
            logits=logits[:1],
            classes=self._dataset.classes,
        )


def rows(images: npt.NDArray[np.uint8]) -> Pixels:
    """Every fourth pixel of pictures, and a one."""
    small = images[:, ::4, ::4].reshape(len(images), -1).astype(np.float32) / 255
    return np.hstack([small, np.ones((len(small), 1), np.float32)])


def kernels(dataset: Dataset) -> dict[int, Pixels]:
    """At each step the matrix that fits best (ridge regression) to the first so many training pictures."""
    images, labels = dataset.train.gather(np.arange(len(dataset.train), dtype=np.int64))
    inputs, targets = rows(images), np.eye(len(dataset.classes), dtype=np.float32)[labels]
    found = {}
    for step in STEPS:
        seen = 2 * step
        squares = inputs[:seen].T @ inputs[:seen] + np.eye(inputs.shape[1], dtype=np.float32)
        found[step] = np.linalg.solve(squares, inputs[:seen].T @ targets[:seen]).astype(np.float32)
    return found


def write(volume: Volume, *, now: float) -> str:
    """Writes the run, stopped long ago, and has it judged. Returns its id."""
    dataset = open_dataset(SPEC.dataset, volume=volume)
    folder = volume.run("20261120-080000-judged-shapes-5a1e")
    write_record(folder.spec, SPEC)
    write_record(folder.desired, Desired(generation=1, state="stopped", time=now))
    average = np.zeros(1, np.float32)
    for step, kernel in kernels(dataset).items():
        average = (average + kernel) / 2 if average.ndim == 2 else kernel
        groups = {"raw": {"kernel": kernel}, EMA: {"kernel": average}, "optimizer": {}}
        CheckpointStore(folder).commit(step=step, fence=1, spec_sha256=spec_digest(SPEC), groups=groups, time=now)
    write_record(folder.status, status(folder, now=now))
    assert Evaluator(volume, judge=LinearJudge(dataset)).loop.run_once()
    return folder.id


def write_without_data(volume: Volume, run: str) -> str:
    """Writes the same run once more, as if its test images were those of files that are not at hand. Returns its id."""
    folder = volume.run("20261120-090000-far-away-5a1e")
    made = Volume(volume.root / "elsewhere").run(folder.id)
    shutil.copytree(volume.run(run).root, made.root)
    write_record(made.spec, SPEC.model_copy(update={"name": "far-away", "dataset": DatasetSpec(kind="cifar10")}))
    made.root.rename(folder.root)
    return folder.id


def status(folder: RunFolder, *, now: float) -> TrainerStatus:
    return trainer_status(
        folder.id,
        phase="stopped",
        step=STEPS[-1],
        steps=SPEC.steps,
        checkpoint_step=STEPS[-1],
        time=now,
        started=now,
        generation_seen=1,
        host="workstation",
    )
