"""Models are exchanged under load: no request fails, and no answer is made of two models."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.evaluator.export_retention import prune
from shared.atomic import remove_folder
from shared.locks import exclusive_lock
from tests.processes.constant_models import export, logits
from tests.processes.serving import CLASSES, PATIENCE, RUN, Gateway, png, serving, until

SWAPS, CLIENTS, ANSWERS_PER_SWAP = 100, 64, 40
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


class Client:
    """Asks over one connection, again and again, and looks at each answer as it comes."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.steps: list[int] = []
        self.trouble: str | None = None

    async def run(self, port: int, done: threading.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while not done.is_set() and self.trouble is None:
                self.trouble = await asyncio.wait_for(self._once(reader, writer), PATIENCE)
        except Exception as error:  # a connection that breaks is a failed request, too
            self.trouble = repr(error)
        finally:
            writer.close()
            await writer.wait_closed()

    async def _once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str | None:
        head = f"POST {self._ask.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {self._ask.content_type}\r\n"
        writer.write(f"{head}Content-Length: {len(self._ask.body)}\r\n\r\n".encode() + self._ask.body)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        body = await reader.readexactly(int(headers["content-length"]))
        return self._wrong(int(status.split()[1]), headers, body)

    def _wrong(self, status: int, headers: dict[str, str], body: bytes) -> str | None:
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
        if rows.shape != (self._ask.rows, len(CLASSES)) or np.abs(rows - expected).max() > 1e-5:
            return f"not all numbers are those of step {step}: {body!r}"
        if self.steps and step < self.steps[-1]:
            return f"step {step} answers after step {self.steps[-1]}"
        self.steps.append(step)
        return None


class Crowd(threading.Thread):
    """Many clients at once, on the event loop of a thread of their own."""

    def __init__(self, port: int, clients: list[Client]) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._clients = clients
        self.done = threading.Event()

    def run(self) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*(client.run(self._port, self.done) for client in self._clients))

        asyncio.run(all_of_them())

    def answers(self) -> int:
        return sum(len(client.steps) for client in self._clients)

    def troubles(self) -> list[str]:
        return [client.trouble for client in self._clients if client.trouble]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    # Room for what all clients may have asked at once: none is to be refused for being one of many.
    with serving(tmp_path, TANDEM_PREDICT_MAX_WAITING=str(CLIENTS * PICTURES)) as made:
        yield made


def refuses_a_better_one_that_is_damaged(gateway: Gateway, step: int) -> None:
    """Commits it, has the gateway try it, and removes it. No client knows what it would have answered."""
    folder = gateway.volume.run(RUN)
    failures = 'tandem_predict_load_failures_total{code="corrupt_export"}'
    before = gateway.metric(failures, missing=0)
    export(folder, step + 1000, classes=CLASSES, precision=(step + 0.5) / 1000, damaged=True)
    until(lambda: gateway.metric(failures, missing=0) > before)
    remove_folder(folder.export(step + 1000))


def test_f34_a_hundred_swaps_over_http_fail_no_request_and_mix_no_answer(gateway: Gateway) -> None:
    clients = [Client(ASKS[number % len(ASKS)]) for number in range(CLIENTS)]
    crowd = Crowd(gateway.port, clients)
    folder = gateway.volume.run(RUN)
    crowd.start()
    try:
        for step in range(2, SWAPS + 2):
            if step % 25 == 0:
                refuses_a_better_one_that_is_damaged(gateway, step)
            before = crowd.answers()
            export(folder, step, classes=CLASSES, precision=step / 1000)
            with exclusive_lock(folder.exports / ".lock"):
                prune(folder, keep=1)
            until(
                lambda step=step, before=before: (
                    crowd.troubles()
                    or (
                        crowd.answers() >= before + ANSWERS_PER_SWAP
                        and any(client.steps[-1:] == [step] for client in clients)
                    )
                )
            )
            if step == SWAPS // 2:
                halfway = gateway.memory()
        until(lambda: crowd.troubles() or all(client.steps[-1:] == [SWAPS + 1] for client in clients))
    finally:
        crowd.done.set()
        crowd.join(30)
    assert crowd.troubles() == []
    assert {step for client in clients for step in client.steps} >= set(range(2, SWAPS + 2))
    assert min(len(client.steps) for client in clients) > SWAPS / 4
    assert gateway.metric("tandem_predict_swaps_total") == SWAPS + 1
    assert gateway.metric("tandem_predict_loaded_models") <= 4
    assert gateway.memory() - halfway < 20 * 2**20, "sessions that were swapped out are not freed"
