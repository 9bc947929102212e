"""Models are exchanged under load: no request fails, and no answer is made of two models."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.evaluator.export_retention import prune
from shared.locks import exclusive_lock
from tests.processes.constant_models import export, logits
from tests.processes.serving import CLASSES, RUN, Gateway, png, serving, until

SWAPS = 100
PICTURES = 7


@dataclass(frozen=True)
class Ask:
    """One way of asking: a request, and how what is in its answer is read.

    `read` gives the step that the answer's body names, None if its protocol has no place for it, and its numbers: rows
    of logits or of probabilities.
    """

    path: str
    body: bytes
    content_type: str
    read: Callable[[Any], tuple[int | None, np.ndarray]]
    probabilities: bool = False
    rows: int = PICTURES


def classified(answer: Any) -> tuple[int | None, np.ndarray]:
    rows = np.zeros((len(answer["predictions"]), len(CLASSES)))
    for row, prediction in zip(rows, answer["predictions"], strict=True):
        for each in prediction["classes"]:
            row[CLASSES.index(each["label"])] = each["probability"]
    assert (answer["run"], answer["precision_at_1"]) == (RUN, answer["step"] / 1000)
    return answer["step"], rows


def inferred(answer: Any) -> tuple[int | None, np.ndarray]:
    (output,) = answer["outputs"]
    return int(answer["model_version"]), np.reshape(output["data"], output["shape"])


BLACK = np.zeros((PICTURES, 8, 8, 3), int)
ASKS = [
    Ask("/v1/models/best:classify?top=10", png(), "image/png", classified, probabilities=True, rows=1),
    Ask(
        f"/v1/models/flowers:classify?top=10&shape={PICTURES},8,8,3",
        BLACK.astype(np.uint8).tobytes(),
        "application/octet-stream",
        classified,
        probabilities=True,
    ),
    Ask(
        "/v1/models/flowers/labels/latest:predict",
        json.dumps({"instances": BLACK.tolist(), "signature_name": "logits"}).encode(),
        "application/json",
        lambda answer: (None, np.array(answer["predictions"])),
    ),
    Ask(
        "/v2/models/best/infer",
        json.dumps(
            {
                "inputs": [
                    {"name": "images", "datatype": "UINT8", "shape": BLACK.shape, "data": BLACK.ravel().tolist()}
                ],
                "outputs": [{"name": "logits"}],
            }
        ).encode(),
        "application/json",
        inferred,
    ),
]


class Client(threading.Thread):
    """Asks over one connection, again and again, and looks at each answer as it comes."""

    def __init__(self, port: int, ask: Ask, done: threading.Event) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._ask = ask
        self._done = done
        self.steps: list[int] = []
        self.trouble: str | None = None

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            while not self._done.is_set() and self.trouble is None:
                connection.request("POST", self._ask.path, self._ask.body, {"Content-Type": self._ask.content_type})
                answer = connection.getresponse()
                self.trouble = self._wrong(answer.status, answer.headers, answer.read())
        except Exception as error:  # a connection that breaks is a failed request, too
            self.trouble = repr(error)
        finally:
            connection.close()

    def _wrong(self, status: int, headers: Any, body: bytes) -> str | None:
        """What is wrong with an answer, if anything is."""
        if status != 200:
            return f"{status}: {body!r}"
        step = int(headers["x-tandem-step"])
        named, rows = self._ask.read(json.loads(body))
        expected = logits(step).astype(np.float64)
        if self._ask.probabilities:
            expected = np.exp(expected) / np.exp(expected).sum()
        if named not in (None, step) or (headers["x-tandem-run"], headers["x-tandem-precision"]) != (
            RUN,
            f"{step / 1000:g}",
        ):
            return f"headers of step {step} do not fit the answer {body!r}"
        if rows.shape != (self._ask.rows, len(CLASSES)) or not np.allclose(rows, expected, rtol=1e-5, atol=1e-7):
            return f"not all numbers are those of step {step}: {body!r}"
        if self.steps and step < self.steps[-1]:
            return f"step {step} answers after step {self.steps[-1]}"
        self.steps.append(step)
        return None


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with serving(tmp_path) as made:
        yield made


def test_f34_a_hundred_swaps_over_http_fail_no_request_and_mix_no_answer(gateway: Gateway) -> None:
    done = threading.Event()
    clients = [Client(gateway.port, ask, done) for ask in ASKS for _ in range(2)]
    folder = gateway.volume.run(RUN)
    for client in clients:
        client.start()
    try:
        for step in range(2, SWAPS + 2):
            export(folder, step, classes=CLASSES, precision=step / 1000)
            with exclusive_lock(folder.exports / ".lock"):
                prune(folder, keep=1)
            until(lambda step=step: any(client.trouble or client.steps[-1:] == [step] for client in clients))
            if step == SWAPS // 2:
                halfway = gateway.memory()
        until(lambda: all(client.trouble or client.steps[-1:] == [SWAPS + 1] for client in clients))
    finally:
        done.set()
        for client in clients:
            client.join(30)
    assert [client.trouble for client in clients if client.trouble] == []
    assert {step for client in clients for step in client.steps} >= set(range(2, SWAPS + 2))
    assert min(len(client.steps) for client in clients) > SWAPS
    assert gateway.metric("tandem_predict_swaps_total") == SWAPS + 1
    assert gateway.metric("tandem_predict_loaded_models") <= 4
    assert gateway.memory() - halfway < 20 * 2**20, "sessions that were swapped out are not freed"
