"""Predictions are asked for all the while, and what each says is compared with the model that it names."""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from benchmarks.soak.house import House
from shared.layout import Volume
from shared.onnx_runtime import onnxruntime
from shared.records import ExportManifest, read_record

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
TOLERANCE = 1e-5
CLIENTS = 2

Probabilities = npt.NDArray[np.float64]


class Predictions:
    """Asks until it is stopped.

    Args:
        house: Whose gateway is asked, and whether it is disturbed just now.
        address: The gateway's.
    """

    def __init__(self, *, house: House, address: str) -> None:
        self.troubles: list[str] = []
        self.answers: Counter[str] = Counter()
        self.said: dict[tuple[str, int, str], Probabilities] = {}
        self._member = house.members["gateway"]
        self._url = f"{address}/v1/models/best:classify?top=10"
        self._served = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def start(self) -> None:
        """Starts asking."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stops asking."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def models(self) -> int:
        """How many models have answered so far."""
        return len(self.said)

    def against_exports(self, volume: Volume) -> list[str]:
        """What is wrong with answers whose models are still there: each must be what its model computes."""
        compared, troubles = 0, []
        for (run, step, weights), said in self.said.items():
            folder = volume.run(run).export(step)
            if folder.exists():
                manifest = read_record(folder / "manifest.json", ExportManifest)
                difference = float(np.abs(said - _computed(folder / "model.onnx", manifest)).max())
                compared += 1
                if manifest.weights != weights or difference > TOLERANCE:
                    troubles.append(f"what step {step} of {run} said differs from its model by {difference}")
        return troubles if compared else [*troubles, "no model that answered is there to be compared with"]

    def _ask(self) -> None:
        body = {"instances": PICTURES.tolist()}
        with httpx.Client(timeout=30) as client:
            while not self._stop.wait(0.05):
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
        key = (str(answer["run"]), int(answer["step"]), str(answer["weights"]))
        labels = [{one["label"]: one["probability"] for one in each["classes"]} for each in answer["predictions"]]
        said = np.array([[each[label] for label in sorted(each)] for each in labels])
        known = self.said.setdefault(key, said)
        if known.shape != said.shape or np.abs(known - said).max() > TOLERANCE:
            self.troubles.append(f"two predictions that both name {key} differ")

    def _failed(self, incarnation: int, began: float, trouble: str) -> None:
        if self._member.is_undisturbed(incarnation, began):
            self.troubles.append(trouble)


def _computed(model: Path, manifest: ExportManifest) -> Probabilities:
    """Probabilities [n, classes] of the pictures, the classes in the order of their labels."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": PICTURES})
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    result: Probabilities = shares[:, np.argsort(manifest.classes)]
    return result
