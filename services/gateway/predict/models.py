"""A loaded model: an export whose files match their digests, in an ONNX Runtime session that has answered before.

The graph takes `images`, uint8 of shape [n, height, width, 3], and answers `logits`, float32 of shape [n, classes];
preprocessing is inside.
"""

import hashlib
import json
import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.gateway.predict.store import Export
from shared.errors import CorruptExportError, NotFoundError
from shared.layout import MANIFEST
from shared.onnx_runtime import onnxruntime
from shared.records import ExportManifest

Images = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.float32]

MODEL_FILE = "model.onnx"
WARM_UP_SEED = 20_260_101


class LoadedModel:
    """An export in memory. Answers from any thread; its memory is given back when the last reference goes.

    Args:
        manifest: Of the export.
        infer: From images to logits.
        infer_alone: The same while nothing else is computed, sooner, at the price of more processor time.
        alone_seconds: The least time that has taken for one picture so far.
    """

    def __init__(
        self,
        *,
        manifest: ExportManifest,
        infer: Callable[[Images], Logits],
        infer_alone: Callable[[Images], Logits] | None = None,
        alone_seconds: float = math.inf,
    ) -> None:
        self.manifest = manifest
        self.infer = infer
        self.infer_alone = infer_alone or infer
        self.alone_seconds = alone_seconds

    @property
    def key(self) -> tuple[str, int]:
        """The run and the step."""
        return self.manifest.run, self.manifest.step

    @cached_property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of every answer: which run, step and weights it is from, and how precise these are."""
        manifest = self.manifest
        return [
            (b"x-tandem-run", manifest.run.encode()),
            (b"x-tandem-step", str(manifest.step).encode()),
            (b"x-tandem-weights", manifest.weights.encode()),
            (b"x-tandem-precision", f"{manifest.precision_at_1:g}".encode()),
        ]

    @cached_property
    def labels(self) -> list[str]:
        """The names of the classes as JSON."""
        return [json.dumps(name) for name in self.manifest.classes]

    @cached_property
    def origin(self) -> str:
        """The members of an answer's JSON object that say what it is from."""
        manifest = self.manifest
        values = {
            "run": manifest.run,
            "step": manifest.step,
            "weights": manifest.weights,
            "decay": manifest.decay,
            "precision_at_1": manifest.precision_at_1,
        }
        return json.dumps(values)[1:-1]


class OnnxLoader:
    """Loads exports.

    Each becomes a session whose calls take one thread, so that several at once share the processors without waiting for
    each other; and with `threads` above 1 a second one, for a single picture that comes while nothing else is computed.

    Args:
        threads: Of a call that is alone.
        largest_batch: The most images that will be asked of it at once; it is warmed up with one, and with so many.
    """

    def __init__(self, *, threads: int, largest_batch: int) -> None:
        self._threads = threads
        self._largest_batch = largest_batch

    def __call__(self, export: Export) -> LoadedModel:
        """The export, checked, loaded and warmed up.

        Raises:
            NotFoundError: It was removed meanwhile.
            CorruptExportError: A file is missing or not what the manifest says, or the model does not do what it must;
                names the file.
        """
        path = export.folder / MODEL_FILE
        data = _verified(export)
        try:
            model = LoadedModel(
                manifest=export.manifest,
                infer=_session(data, threads=1),
                infer_alone=_session(data, threads=self._threads) if self._threads > 1 else None,
            )
            self._warm_up(model)
        except CorruptExportError:
            raise
        # ONNX Runtime's own exceptions have no common base below Exception.
        except Exception as error:
            raise CorruptExportError(f"cannot be served: {error}", where=str(path)) from error
        return model

    def _warm_up(self, model: LoadedModel) -> None:
        random = np.random.default_rng(WARM_UP_SEED)
        for count, infer in ((1, model.infer_alone), (1, model.infer), (self._largest_batch, model.infer)):
            images = random.integers(0, 256, size=(count, *model.manifest.input_shape), dtype=np.uint8)
            logits = infer(images)
            expected = (count, len(model.manifest.classes))
            if logits.shape != expected or not np.isfinite(logits).all():
                raise ValueError(f"answers {logits.dtype} {logits.shape}, not finite numbers {expected}")


def _session(data: bytes, *, threads: int) -> Callable[[Images], Logits]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The threads of one call wait for each other by spinning, which is soonest, but not for the next call: between two
    # calls they would take the cores from the requests' own work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def infer(images: Images) -> Logits:
        logits: Logits = session.run(["logits"], {"images": images})[0]
        return logits

    return infer


def _verified(export: Export) -> bytes:
    """The bytes of the model, after every file of the export was compared with its digest."""
    if MODEL_FILE not in export.manifest.files:
        raise CorruptExportError(f"does not list {MODEL_FILE}", where=str(export.folder / MANIFEST))
    model = b""
    for name, expected in export.manifest.files.items():
        path = export.folder / name
        try:
            data = path.read_bytes()
        except OSError as error:
            if not export.folder.exists():
                raise NotFoundError("was removed while it was read", where=str(export.folder)) from error
            raise CorruptExportError(f"cannot be read: {error.strerror}", where=str(path)) from error
        if len(data) != expected.size:
            raise CorruptExportError(f"is {len(data)} bytes long instead of {expected.size}", where=str(path))
        if hashlib.sha256(data).hexdigest() != expected.sha256:
            raise CorruptExportError("does not match its digest", where=str(path))
        if name == MODEL_FILE:
            model = data
    return model
