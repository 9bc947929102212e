"""The gateway as a process, asked over real sockets by clients that misbehave."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.layout import Volume
from shared.records import write_record
from shared.spec import RunSpec
from tests.processes.constant_models import export

RUN = "20260101-000000-flowers-0001"
CLASSES = tuple(f"class-{number}" for number in range(10))
PATH = "/v1/models/best:classify"
BODY_SECONDS = 1.0
BODY_BYTES = 1_000_000
MAX_WAITING = 4
PATIENCE = 30.0


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Gateway:
    """A gateway's process and its address."""

    volume: Volume
    process: subprocess.Popen[bytes]
    port: int

    def classify(self) -> tuple[int, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{PATH}", png(), {"Content-Type": "image/png"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def memory(self) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def sockets(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def head(*lines: str) -> bytes:
    return "\r\n".join([f"POST {PATH} HTTP/1.1", "Host: localhost", "Content-Type: image/png", *lines, "", ""]).encode()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("predict")) as made:
        yield made


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of its own, in which few pictures may wait."""
    with serving(tmp_path, TANDEM_PREDICT_MAX_WAITING=str(MAX_WAITING)) as made:
        yield made


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Gateway]:
    volume = Volume(folder / "volume")
    write_record(volume.run(RUN).spec, RunSpec(name="flowers"))
    export(volume.run(RUN), 1, classes=CLASSES, precision=1 / 1000)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "TANDEM_PREDICT_BODY_SECONDS": str(BODY_SECONDS),
        "TANDEM_PREDICT_BODY_BYTES": str(BODY_BYTES),
        "TANDEM_PREDICT_POLL_SECONDS": "0.01",
        "TANDEM_GATEWAY_SLOTS": "0",
        **settings,
    }
    command = [sys.executable, "-m", "services.gateway", "--volume", str(volume.root), "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    made = Gateway(volume, process, port)

    def ready() -> bool:
        assert process.poll() is None, "the gateway ended"
        try:
            return made.classify()[0] == 200
        except OSError:
            return False

    try:
        until(ready)
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def test_f36_endless_chunked_body_is_refused_and_memory_stays_flat(gateway: Gateway) -> None:
    before = gateway.memory()
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with gateway.connect() as client:
        client.sendall(head("Transfer-Encoding: chunked"))
        sent = 0
        try:
            while sent < 10_000 * len(chunk):
                client.sendall(chunk)
                sent += len(chunk)
                assert sent < 64 * BODY_BYTES, "the gateway goes on reading"
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert gateway.memory() - before < 20 * 2**20
    assert gateway.classify()[0] == 200


def test_f36_body_announced_as_ten_gigabytes_is_refused_unread(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.sendall(head("Content-Length: 10000000000"))
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_f36_body_that_trickles_in_is_given_up(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.sendall(head("Content-Length: 1000"))
        begin = time.monotonic()
        client.sendall(b"\x89PNG")
        assert client.recv(100).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begin >= BODY_SECONDS - 0.1


def test_f40_clients_that_go_away_leave_nothing_behind(gateway: Gateway) -> None:
    gateway.classify()
    sockets = gateway.sockets()
    for number in range(300):
        with gateway.connect() as client:
            body = png()
            client.sendall(head(f"Content-Length: {len(body)}") + (body if number % 2 else body[:10]))
    until(lambda: gateway.sockets() <= sockets)
    assert gateway.classify()[0] == 200


def test_f34_swaps_over_http_drop_no_request(gateway: Gateway) -> None:
    done = threading.Event()
    answers: list[tuple[int, Any]] = []

    def ask() -> None:
        while not done.is_set():
            answers.append(gateway.classify())

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for step in range(2, 22):
            export(gateway.volume.run(RUN), step, classes=CLASSES, precision=step / 1000)
            until(lambda step=step: answers and answers[-1][1].get("step") == step)
    finally:
        done.set()
        for client in clients:
            client.join()
    assert {status for status, _ in answers} == {200}
    assert {answer["step"] for _, answer in answers} >= set(range(2, 22))
    for _, answer in answers:
        assert answer["predictions"][0]["classes"][0]["label"] == CLASSES[answer["step"] % 10]


def test_f39_f45_overload_is_refused_at_once_scraped_all_along_and_over_within_two_seconds(narrow: Gateway) -> None:
    body = png()
    request = head(f"Content-Length: {len(body)}") + body
    done = threading.Event()
    statuses: list[tuple[int, float]] = []
    counts: list[float] = []

    def flood() -> None:
        while not done.is_set():
            began = time.monotonic()
            with narrow.connect() as client:
                client.sendall(request)
                answer = client.recv(4096)
            statuses.append((int(answer.split()[1]), time.monotonic() - began))

    def scrape() -> None:
        while not done.is_set():
            with urllib.request.urlopen(f"http://127.0.0.1:{narrow.port}/metrics", timeout=PATIENCE) as answer:
                lines = answer.read().decode().splitlines()
            counts.append(sum(float(line.split()[-1]) for line in lines if line.startswith("tandem_predict_requests_")))
            done.wait(0.05)

    threads = [threading.Thread(target=flood) for _ in range(10 * MAX_WAITING)] + [threading.Thread(target=scrape)]
    for thread in threads:
        thread.start()
    until(lambda: {status for status, _ in statuses} >= {200, 429} and len(statuses) > 500 and len(counts) > 3)
    done.set()
    for thread in threads:
        thread.join()
    over = time.monotonic()
    until(lambda: narrow.classify()[0] == 200)
    assert time.monotonic() - over < 2
    assert {status for status, _ in statuses} == {200, 429}
    # What is taken waits behind few others, so however many ask, none waits for the sum of them.
    assert max(seconds for status, seconds in statuses if status == 200) < 5
    assert counts == sorted(counts)
