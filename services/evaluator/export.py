"""Exports: judged weights as ONNX models that the gateway serves, with their preprocessing inside.

Files: `exports/<step>/{model.onnx, manifest.json}`, committed whole and removed in two phases, all under the lock of
`exports/.lock`, so that a fleet of evaluators is one writer.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from services.evaluator.export_retention import prune
from services.evaluator.figures import Logits
from services.evaluator.graph import INPUT, OUTPUT, ExchangeableGraph, convert
from services.evaluator.judge import EvaluationCache
from services.evaluator.judging import Judged, NotExportableError
from services.evaluator.verdicts import weights_and_decay
from shared import atomic
from shared.checkpoints import Arrays
from shared.data.examples import Images
from shared.layout import MANIFEST, RunFolder
from shared.locks import exports_lock
from shared.onnx_runtime import onnxruntime
from shared.records import ExportManifest, FileRecord, encode_record
from shared.spec import RunSpec

MODEL = "model.onnx"

TOLERANCE = 1e-4
"""How far an export's logits may be from the judged ones, as a share of the greatest of them (or of 1, if less).

Two answers that are at most this far apart name the same class, but where the two best logits are closer together than
twice this distance; so precision is the same up to such ties.
"""


class OnnxExporter:
    """Exports to ONNX; see `judging.Exporter`.

    Args:
        cache: Where networks come from.
        keep: How many of a run's newest exports are kept, besides its best.
        threads: Processors that checking an export may use.
        wall: Seconds since the epoch.
        graphs: How many converted graphs are kept in memory.
    """

    def __init__(
        self,
        *,
        cache: EvaluationCache,
        keep: int,
        threads: int,
        wall: Callable[[], float] = time.time,
        graphs: int = 4,
    ) -> None:
        self._cache = cache
        self._keep = keep
        self._threads = threads
        self._wall = wall
        self._limit = graphs
        self._graphs: OrderedDict[str, ExchangeableGraph | NotExportableError] = OrderedDict()

    def export(
        self, folder: RunFolder, spec: RunSpec, *, step: int, kind: str, weights: Arrays, judged: Judged
    ) -> bool:
        """Exports one kind of weights; see `judging.Exporter`."""
        final = folder.export(step)
        if final.exists():
            return False
        data = self._graph(spec).with_weights(weights)
        difference = compare(self._answers(data, judged.images), judged.logits)
        decay = weights_and_decay(kind)
        with exports_lock(folder):
            atomic.sweep(folder.exports)
            if final.exists():
                return False
            with atomic.committing(final) as commit:
                digest = commit.write(MODEL, data)
                manifest = ExportManifest(
                    run=folder.id,
                    step=step,
                    weights=decay[0],
                    decay=decay[1],
                    files={MODEL: FileRecord(size=digest.size, sha256=digest.sha256)},
                    input_shape=self._cache.dataset(spec).test.image_shape,
                    classes=judged.classes,
                    precision_at_1=judged.figures.precision_at_1,
                    greatest_difference=difference,
                    time=self._wall(),
                )
                commit.write(MANIFEST, encode_record(manifest))
            prune(folder, keep=self._keep)
        return True

    def _graph(self, spec: RunSpec) -> ExchangeableGraph:
        dataset = self._cache.dataset(spec)
        view = spec.augment.model_dump_json(include={"crop", "standardize"})
        statistics = self._cache.statistics(spec)
        shapes = f"{dataset.test.image_shape} {len(dataset.classes)} {statistics}"
        key = f"{spec.model.model_dump_json()} {view} {shapes}"
        if key not in self._graphs:
            self._graphs[key] = self._converted(spec)
            while len(self._graphs) > self._limit:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        graph = self._graphs[key]
        if isinstance(graph, NotExportableError):
            raise graph
        return graph

    def _converted(self, spec: RunSpec) -> ExchangeableGraph | NotExportableError:
        try:
            return convert(
                self._cache.network(spec).model,
                image_shape=self._cache.dataset(spec).test.image_shape,
                augment=spec.augment,
                statistics=self._cache.statistics(spec),
            )
        except NotExportableError as error:
            return error  # it would be the same for each checkpoint, and take as long

    def _answers(self, data: bytes, images: Images) -> Logits:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            answers: Any = session.run([OUTPUT], {INPUT: images})
        except Exception as error:  # ONNX Runtime has no public base class of its errors
            raise NotExportableError(f"ONNX Runtime cannot run the converted network: {error}") from error
        return np.asarray(answers[0])


def compare(answers: Logits, judged: Logits) -> float:
    """The greatest difference between an export's logits and the judged ones, both float32 [m, classes].

    Raises:
        NotExportableError: It is more than `TOLERANCE` allows, or the shapes differ.
    """
    if answers.shape != judged.shape:
        raise NotExportableError(f"the export answers in the shape {answers.shape} instead of {judged.shape}")
    difference = float(np.abs(answers.astype(np.float64) - judged).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(judged).max()))
    if not difference <= allowed:
        raise NotExportableError(
            f"the export's logits are up to {difference:.2g} from those that were judged, more than {allowed:.2g}"
        )
    return difference
