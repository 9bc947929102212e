"""Evaluating 10,000 pictures: tandem's evaluator beside Keras `evaluate`, in turns, and what an export costs.

    python -m benchmarks.evaluation [--examples 10000] [--pairs 5] [--threads 0]

Both sides judge the tutorial network on the same pictures, each in a process of its own that has warmed up:

keras    `Model.evaluate` as its documentation has it: compiled with loss, accuracy and top-5 accuracy, views prepared
         in memory beforehand (which is not counted), default batch size, default kernels, default threads.
tandem   the whole evaluator for one checkpoint: open, verify and load the weights, judge raw and averaged weights with
         all figures, export to ONNX and check the export, write both verdicts. Counted per kind of weights.

Printed are wall and processor seconds pair by pair, and the ratios of each pair. On a machine that others use as well,
trust the processor seconds. Nothing is asserted.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from benchmarks.report import Report, add_output
from services.evaluator.assessor import Assessor
from services.evaluator.events import EventLog
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.standings import Standings
from services.evaluator.tensorboard import TensorBoardCurves
from services.evaluator.verdicts import VerdictWriter
from shared.checkpoints import CheckpointStore, spec_digest
from shared.data.catalog import open_dataset
from shared.devices import ONEDNN, available_processors, prepare_tensorflow
from shared.layout import Volume
from shared.records import write_record
from shared.spec import DatasetSpec, RunSpec

RUN = "20260101-000000-benchmark-0000"


def spec_of(examples: int) -> RunSpec:
    """The tutorial's network on generated pictures."""
    return RunSpec(dataset=DatasetSpec(kind="shapes", train_examples=1, test_examples=examples))


class Side:
    """One side in a process of its own: takes its turn when told to, and answers with figures."""

    def __init__(self, name: str, *, volume: Path, examples: int, threads: int) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
        environment |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-m", "benchmarks.evaluation", "--side", name, "--volume", str(volume)]
        self._process = subprocess.Popen(
            [*command, "--examples", str(examples), "--threads", str(threads)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def turn(self) -> list[float]:
        """Waits for one turn to be taken."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("a side ended before its turn")
        return [float(word) for word in answer.split()]

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def keras_side(volume: Volume, examples: int) -> Callable[[], list[float]]:
    """Keras `evaluate`: wall and processor seconds of one call."""
    # Each side imports TensorFlow in its own process, which has been told its switches before.
    import keras  # noqa: PLC0415

    from shared.ml.models import build_model  # noqa: PLC0415
    from shared.ml.preprocess import evaluation_view  # noqa: PLC0415

    spec = spec_of(examples)
    test = open_dataset(spec.dataset, volume=volume).test
    images, labels = test.gather(np.arange(len(test), dtype=np.int64))
    views = np.asarray(evaluation_view(images, spec.augment))
    model = build_model(spec.model, image_shape=(24, 24, 3), classes=10, seed=0)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["sparse_categorical_accuracy", keras.metrics.SparseTopKCategoricalAccuracy(5)],
    )

    def turn() -> list[float]:
        started, busy = time.perf_counter(), time.process_time()
        model.evaluate(views, labels, verbose=0)
        return [time.perf_counter() - started, time.process_time() - busy]

    return turn


def tandem_side(volume: Volume, examples: int, threads: int) -> Callable[[], list[float]]:
    """The evaluator: wall and processor seconds per kind of weights, wall seconds of the export alone."""
    prepare_tensorflow(os.environ, device="cpu", threads=threads)
    # TensorFlow reads the environment when it is imported.
    from services.evaluator.export import OnnxExporter  # noqa: PLC0415
    from services.evaluator.judge import EvaluationCache, TensorFlowJudge  # noqa: PLC0415
    from shared.ml.weights import read_weights  # noqa: PLC0415

    registry = CollectorRegistry()
    cache = EvaluationCache(volume=volume, cache_bytes=2**30)
    assessor = Assessor(
        judge=TensorFlowJudge(cache=cache),
        exporter=OnnxExporter(cache=cache, keep=3, threads=threads),
        verdicts=VerdictWriter(evaluator="benchmark", wall=time.time),
        standings=Standings(keep=200),
        curves=TensorBoardCurves(on_problem=lambda code: None),
        events=EventLog(wall=time.time),
        metrics=EvaluatorMetrics(registry),
        on_open=lambda manifest: None,
    )
    folder, spec = volume.run(RUN), spec_of(examples)
    write_record(folder.spec, spec)
    weights = read_weights(cache.network(spec).model)
    random = np.random.default_rng(0)

    def exporting() -> float:
        return registry.get_sample_value("tandem_export_seconds_sum") or 0.0

    def turn() -> list[float]:
        step = len(CheckpointStore(folder).steps()) + 1
        shaken: dict[str, Any] = {
            name: array + (1e-3 * random.standard_normal(array.shape)).astype(np.float32)
            for name, array in weights.items()
        }
        groups = {"raw": weights, spec.primary_ema: shaken}
        CheckpointStore(folder).commit(step=step, fence=1, spec_sha256=spec_digest(spec), groups=groups, time=0.0)
        before, started, busy = exporting(), time.perf_counter(), time.process_time()
        assessor.assess(folder, step, spec.weights_kinds, wanted=lambda: True)
        seconds, processor = time.perf_counter() - started, time.process_time() - busy
        return [seconds / len(groups), processor / len(groups), exporting() - before]

    return turn


def take_turns(side: str, volume: Volume, examples: int, threads: int) -> None:
    """What the child process does: one turn to warm up, then one for each line that it reads."""
    turn = keras_side(volume, examples) if side == "keras" else tandem_side(volume, examples, threads)
    turn()
    for _ in sys.stdin:
        print(*turn(), flush=True)


def main() -> None:
    """Runs the benchmark, or one side of it."""
    parser = argparse.ArgumentParser(description="The evaluator beside Keras evaluate, in turns.")
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=0, help="of the evaluator; 0: as many as Keras takes, which is all"
    )
    add_output(parser)
    parser.add_argument("--side", choices=["keras", "tandem"], help=argparse.SUPPRESS)
    parser.add_argument("--volume", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    threads = options.threads or available_processors()
    if options.side:
        take_turns(options.side, Volume(options.volume), options.examples, threads)
        return
    print(f"{options.examples} pictures, {threads} of {available_processors()} processors for tandem; {ONEDNN}=1 there")
    with tempfile.TemporaryDirectory() as root, Report("evaluation", options.output) as report:
        keras, tandem = [
            Side(name, volume=Path(root), examples=options.examples, threads=threads) for name in ("keras", "tandem")
        ]
        walls, processors, exports = [], [], []
        print("        keras wall, processor s   tandem wall, processor s   ratios       export s")
        for pair in range(1, options.pairs + 1):
            their_wall, their_processor = keras.turn()
            our_wall, our_processor, export = tandem.turn()
            walls.append(their_wall / our_wall)
            processors.append(their_processor / our_processor)
            exports.append(export)
            print(
                f"pair {pair}: {their_wall:10.2f}   {their_processor:10.2f}   {our_wall:12.2f}   {our_processor:10.2f}"
                f"   {walls[-1]:5.2f}  {processors[-1]:5.2f}   {export:.3f}"
            )
        keras.close()
        tandem.close()
        report.add("Keras `evaluate` takes, of the evaluator's time", statistics.median(walls), "", at_least=1.3)
        report.add("… and of its processor time", statistics.median(processors), "")
        report.add("an export by exchange of weights, checked", statistics.median(exports) * 1e3, "ms", at_most=200)
    print(
        f"medians: ratio of wall seconds {statistics.median(walls):.2f}, of processor seconds "
        f"{statistics.median(processors):.2f}; export {statistics.median(exports):.3f} s"
    )


if __name__ == "__main__":
    main()
