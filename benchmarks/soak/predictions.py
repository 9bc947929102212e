"""Predictions are asked for all the while, and what each says is compared with the model that it names."""

import contextlib
import time
from collections import Counter
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from benchmarks.soak.house import House
from benchmarks.soak.load import Load
from shared.layout import Volume
from shared.onnx_runtime import onnxruntime
from shared.records import ExportManifest, read_record

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
TOLERANCE = 1e-5
PERIOD_SECONDS = 0.05
CLIENTS = 2

Probabilities = npt.NDArray[np.float64]
Model = tuple[str, int, str]  # run, step, kind of weights
Export = tuple[ExportManifest, bytes]


class Predictions(Load):
    """Asks until it is stopped.

    Args:
        house: Whose gateway is asked, and whether it is disturbed just now.
        address: The gateway's.
        volume: Where its models are.
    """

    def __init__(self, *, house: House, address: str, volume: Volume) -> None:
        super().__init__(*[self._ask] * CLIENTS)
        self.answers: Counter[str] = Counter()
        self.said: dict[Model, Probabilities] = {}
        self._member = house.members["gateway"]
        self._url = f"{address}/v1/models/best:classify?top=10"
        self._volume = volume
        self._exports: dict[Model, Export] = {}
        self._served = 0

    def compared(self) -> str:
        """How many models have answered, and of how many of them that is compared with what they compute."""
        return f"{len(self.said)} models, {len(self._exports)} of them compared with"

    def against_models(self) -> list[str]:
        """What is wrong with answers whose model was still there to be copied: each must be what its model computes."""
        troubles = [] if self._exports else ["no model that answered was there to be compared with"]
        for model, (manifest, data) in self._exports.items():
            difference = float(np.abs(self.said[model] - _computed(data, manifest)).max())
            if manifest.weights != model[2] or difference > TOLERANCE:
                troubles.append(f"what {model} said differs from what it computes by {difference}")
        return troubles

    def _ask(self) -> None:
        body = {"instances": PICTURES.tolist()}
        with httpx.Client(timeout=30) as client:
            while self.goes_on(PERIOD_SECONDS):
                incarnation, began = self._member.incarnation, time.monotonic()
                try:
                    answer = client.post(self._url, json=body)
                except httpx.HTTPError as error:
                    self.answers["no answer"] += 1
                    self._failed(incarnation, began, f"a prediction failed: {error!r}")
                    continue
                self.answers[str(answer.status_code)] += 1
                if answer.status_code == 200:
                    self._served = incarnation
                    self._compare(answer.json())
                elif answer.status_code != 503 or self._served == incarnation:
                    self._failed(incarnation, began, f"a prediction was answered {answer.status_code}: {answer.text}")

    def _compare(self, answer: dict[str, Any]) -> None:
        model = (str(answer["run"]), int(answer["step"]), str(answer["weights"]))
        labels = [{one["label"]: one["probability"] for one in each["classes"]} for each in answer["predictions"]]
        said = np.array([[each[label] for label in sorted(each)] for each in labels])
        if model not in self.said:
            self._copy(model)
        known = self.said.setdefault(model, said)
        if known.shape != said.shape or np.abs(known - said).max() > TOLERANCE:
            self.troubles.append(f"two predictions that both name {model} differ")

    def _copy(self, model: Model) -> None:
        """Copies what has just answered for the first time, since it will be removed when there is a better one."""
        run, step, _ = model
        folder = self._volume.run(run).export(step)
        with contextlib.suppress(FileNotFoundError):  # removed already
            manifest = read_record(folder / "manifest.json", ExportManifest)
            self._exports[model] = (manifest, (folder / "model.onnx").read_bytes())

    def _failed(self, incarnation: int, began: float, trouble: str) -> None:
        if self._member.is_undisturbed(incarnation, began):
            self.troubles.append(trouble)


def _computed(model: bytes, manifest: ExportManifest) -> Probabilities:
    """Probabilities [n, classes] of the pictures, the classes in the order of their labels."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": PICTURES})
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    result: Probabilities = shares[:, np.argsort(manifest.classes)]
    return result
