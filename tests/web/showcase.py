"""A volume as it is after a day of work: runs that have ended in every way, with curves, verdicts and an export.

`python -m tests.web.showcase FOLDER` writes one to look at. Nothing of it was trained: the curves are drawn from a
seed. Classes are told apart by the picture's mean colour, so that a red picture is a "maple", a blue one a "lake".
"""

import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.atomic import committing
from shared.checkpoints import CheckpointStore, spec_digest
from shared.layout import RunFolder, Volume
from shared.records import (
    ClassFigures,
    Desired,
    Event,
    ExportManifest,
    FileRecord,
    LineWriter,
    SeriesPoint,
    TrainerPhase,
    TrainerStatus,
    Verdict,
    encode_record,
    write_record,
)
from shared.spec import RunSpec, ema_kind

CLASSES = ("maple", "meadow", "lake", "sunflower", "lilac", "coral", "fjord", "ember", "moss", "slate")
COLOURS = np.array(
    [
        (200, 40, 40),
        (70, 170, 60),
        (40, 80, 200),
        (240, 200, 40),
        (170, 110, 210),
        (250, 130, 110),
        (30, 130, 160),
        (220, 110, 20),
        (90, 110, 50),
        (110, 120, 130),
    ],
    np.float32,
)
SIDE = 8
EXAMPLES = 2_000
EVENING = 1_795_000_000.0
"""Seconds since the epoch, for volumes that shall be the same each time."""


def colour_model() -> bytes:
    """An ONNX model that answers the class whose colour is nearest to the picture's mean."""
    # The nearest centre c maximises x·c - |c|²/2, so one matrix does it.
    kernel = COLOURS.T / 600
    bias = -(COLOURS**2).sum(axis=1) / 1200
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Gemm", ["mean", "kernel", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(CLASSES)])],
        [
            numpy_helper.from_array(kernel.astype(np.float32), "kernel"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@dataclass
class Story:
    """What became of one run."""

    name: str
    hours_ago: float
    phase: TrainerPhase = "completed"
    share: float = 1.0
    steps: int = 6000
    limit: float = 0.86
    speed: float = 1600.0
    labels: dict[str, str] | None = None
    values: dict[str, Any] | None = None
    failure: dict[str, str | None] | None = None
    exported: bool = False


STORIES = [
    Story("cifar10-tutorial", 26, limit=0.862, steps=12000, labels={"paper": "baseline"}, exported=True),
    Story("cifar10-cosine", 9, limit=0.871, labels={"sweep": "rate"}, values={"batch_size": 256}, exported=True),
    Story("cifar10-onecycle", 7.5, limit=0.884, labels={"sweep": "rate", "owner": "ada"}, exported=True),
    Story("resnet-wide", 6, phase="stopped", share=0.62, limit=0.853, labels={"owner": "ada"}),
    Story(
        "hot-rate",
        4,
        phase="failed",
        share=0.08,
        limit=0.4,
        values={"learning_rate": {"kind": "constant", "rate": 4.0}},
        failure={
            "code": "diverged",
            "message": "the loss is not a finite number at step 487",
            "where": "step 487",
            "hint": "Try a learning rate below 0.4, or on_divergence: rollback",
        },
    ),
    Story("two-decays", 2, limit=0.868, values={"ema": {"decays": [0.9999, 0.99]}}, exported=True),
]


class Author:
    """Writes one run."""

    def __init__(self, *, volume: Volume, story: Story, now: float, random: np.random.Generator) -> None:
        self.story = story
        self.random = random
        self.begin = now - 3600 * story.hours_ago
        moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(self.begin))
        self.folder: RunFolder = volume.run(f"{moment}-{story.name}-{random.integers(1 << 16):04x}")
        values = {"dataset": {"kind": "shapes"}, "cadence": {"checkpoint_steps": story.steps // 12}}
        self.spec = RunSpec.model_validate(
            {**values, "name": story.name, "steps": story.steps, "labels": story.labels or {}, **(story.values or {})}
        )
        self.last = int(story.share * story.steps)

    def write(self) -> str:
        folder = self.folder
        write_record(folder.spec, self.spec)
        asked = "stopped" if self.story.phase == "stopped" else "running"
        write_record(folder.desired, Desired(generation=1, state=asked, time=self.begin))
        self.series()
        self.events()
        self.log()
        steps = range(self.spec.cadence.checkpoint_steps, self.last + 1, self.spec.cadence.checkpoint_steps)
        for step in steps:
            self.verdicts(step)
        for step in list(steps)[-5:]:
            self.checkpoint(step)
        if self.story.exported and steps:
            self.export(steps[-1])
        self.status()
        return folder.id

    def at(self, step: int) -> float:
        return self.begin + 20 + step * self.spec.batch_size / self.story.speed

    def quality(self, step: int, *, averaged: bool) -> float:
        share = step / self.story.steps
        height = self.story.limit * (1 - 0.62 * math.exp(-5 * share) - (0 if averaged else 0.035 + 0.02 * (1 - share)))
        return float(np.clip(height + self.random.normal(0, 0.002 if averaged else 0.011), 0.05, 0.99))

    def series(self) -> None:
        writer = LineWriter(self.folder.series)
        average = 2.3
        for step in range(10, self.last + 1, 10):
            share = step / self.story.steps
            loss = (0.45 + 1.85 * math.exp(-5.5 * share)) * float(np.exp(self.random.normal(0, 0.13)))
            if self.story.phase == "failed":
                loss *= math.exp(step / 180)
            average = 0.97 * average + 0.03 * loss
            rate = 0.1 if share < 0.5 else 0.1 * (1 + math.cos(math.pi * (2 * share - 1))) / 2
            speed = self.story.speed * float(self.random.normal(1, 0.015))
            point = {"loss": loss, "cross_entropy": loss, "average_loss": average, "learning_rate": rate}
            writer.append(SeriesPoint(step=step, time=self.at(step), examples_per_second=speed, **point))

    def verdicts(self, step: int) -> None:
        for decay in (None, *self.spec.ema.decays):
            precision = self.quality(step, averaged=decay is not None) - (0 if decay in (None, 0.9999) else 0.01)
            verdict = Verdict(
                run=self.folder.id,
                step=step,
                weights="raw" if decay is None else "ema",
                decay=decay,
                examples=EXAMPLES,
                precision_at_1=round(precision, 4),
                interval=wilson(precision, EXAMPLES),
                precision_at_k=min(0.999, precision + 0.11),
                loss=1.4 * (1 - precision) + 0.1,
                seconds=2.4,
                evaluator="evaluator-0",
                time=self.at(step) + 4.5 + float(self.random.exponential(1.2)),
                **self.confusion(precision),
            )
            write_record(self.folder.verdict(step, "raw" if decay is None else ema_kind(decay)), verdict)

    def confusion(self, precision: float) -> dict[str, Any]:
        distance = np.linalg.norm(COLOURS[:, None] - COLOURS[None], axis=2)
        near = np.exp(-distance / 40) * (1 - np.eye(len(CLASSES)))
        near = near / near.sum(axis=1, keepdims=True)
        hard = near.max(axis=1) / near.max(axis=1).mean()
        each = EXAMPLES // len(CLASSES)
        rows = []
        for index in range(len(CLASSES)):
            right = float(np.clip(1 - (1 - precision) * hard[index], 0.05, 0.995))
            chances = near[index] * (1 - right)
            chances[index] = right
            rows.append(self.random.multinomial(each, chances / chances.sum()))
        table = np.array(rows)
        figures = []
        for index, name in enumerate(CLASSES):
            hits, taken, there = int(table[index, index]), int(table[:, index].sum()), int(table[index].sum())
            found, kept = hits / max(taken, 1), hits / there
            score = 2 * found * kept / max(found + kept, 1e-9)
            figures.append(ClassFigures(name=name, examples=there, precision=found, recall=kept, f1=score))
        return {"confusion": tuple(tuple(int(cell) for cell in row) for row in table), "classes": tuple(figures)}

    def checkpoint(self, step: int) -> None:
        arrays = {"kernel": self.random.normal(size=(267, 1000)).astype(np.float32)}
        groups = dict.fromkeys(self.spec.weights_kinds, arrays)
        CheckpointStore(self.folder).commit(
            step=step,
            fence=1,
            spec_sha256=spec_digest(self.spec),
            groups={**groups, "optimizer": {}},
            time=self.at(step),
            loss=0.6,
        )

    def export(self, step: int) -> None:
        data = colour_model()
        with committing(self.folder.export(step)) as folder:
            digest = folder.write("model.onnx", data)
            manifest = ExportManifest(
                run=self.folder.id,
                step=step,
                weights="ema",
                decay=self.spec.ema.decays[0],
                files={"model.onnx": FileRecord(size=digest.size, sha256=digest.sha256)},
                input_shape=(SIDE, SIDE, 3),
                classes=CLASSES,
                precision_at_1=self.story.limit,
                greatest_difference=1e-6,
                time=self.at(step) + 8,
            )
            folder.write("manifest.json", encode_record(manifest))

    def events(self) -> None:
        """Of all three services, as they would stand on the volume."""

        def add(writer: LineWriter, service: Any, step: int, kind: str, message: str, **details: Any) -> None:
            values = {"step": step or None, "details": details}
            writer.append(Event(time=self.at(step), service=service, kind=kind, message=message, **values))

        gateway, trainer = LineWriter(self.folder.gateway_events), LineWriter(self.folder.trainer_events)
        evaluator = LineWriter(self.folder.evaluator_events)
        add(gateway, "gateway", 0, "created", "was asked for")
        add(gateway, "gateway", 0, "assigned", "goes to slot slot-0", slot="slot-0", fence=1)
        add(gateway, "gateway", 1, "state", "trains, in slot slot-0", **{"from": "starting", "to": "running"})
        add(trainer, "trainer", 0, "begun", "begins at step 0")
        for step in range(self.spec.cadence.checkpoint_steps, self.last + 1, self.spec.cadence.checkpoint_steps):
            add(trainer, "trainer", step, "checkpoint", f"committed step {step}")
            add(evaluator, "evaluator", step, "judged", f"judged step {step}, raw and averaged weights")
        if self.story.failure:
            add(trainer, "trainer", self.last, "failed", self.story.failure["message"] or "")
        past = {"failed": "failed", "stopped": "stop was asked for", "completed": "made every step"}
        ending = past.get(self.story.phase, self.story.phase)
        add(gateway, "gateway", self.last, "state", ending, **{"from": "running", "to": self.story.phase})

    def log(self) -> None:
        with self.folder.trainer_log.open("a", encoding="utf-8") as file:
            for step in range(0, self.last + 1, self.spec.cadence.checkpoint_steps):
                level = "WARNING" if step and step % (4 * self.spec.cadence.checkpoint_steps) == 0 else "INFO"
                text = "the disk took 1.8 s to write a checkpoint" if level == "WARNING" else f"at step {step}"
                line = {"time": self.at(step), "level": level, "service": "trainer", "logger": "trainer"}
                file.write(json.dumps({**line, "message": text}) + "\n")

    def status(self) -> None:
        kept = CheckpointStore(self.folder).steps()
        status = TrainerStatus(
            run=self.folder.id,
            slot="slot-0",
            phase=self.story.phase,
            step=self.last,
            steps=self.spec.steps,
            checkpoint_step=max(kept, default=None),
            loss=0.6,
            beat=1,
            time=self.at(self.last),
            started=self.begin,
            fence=1,
            generation_seen=1,
            pid=1,
            host="workstation",
            versions={},
            failure=self.story.failure,
        )
        write_record(self.folder.status, status)


def wilson(share: float, count: int) -> tuple[float, float]:
    """The Wilson score interval at 95%."""
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def write(root: Path, *, now: float, stories: list[Story] | None = None) -> list[str]:
    """Writes the runs; returns their ids, oldest first."""
    volume = Volume(root)
    random = np.random.default_rng(7)
    return [
        Author(volume=volume, story=story, now=now, random=random).write()
        for story in (STORIES if stories is None else stories)
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join(write(Path(sys.argv[1]), now=time.time())) + "\n")
