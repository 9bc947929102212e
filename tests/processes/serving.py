"""A gateway as a process that serves exports which always answer the same class."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
PATIENCE = 30.0


def png() -> bytes:
    """A black picture of the models' size."""
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

    def memory(self, field: str = "VmRSS") -> int:
        """In bytes: what it holds now, or with VmHWM the most that it held."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

    def metric(self, name: str, *, missing: float | None = None) -> float:
        """A figure of its own, by its name and labels; `missing` where there is none yet."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        found = (float(line.split()[1]) for line in lines if line.startswith(f"{name} "))
        return next(found) if missing is None else next(found, missing)

    def sockets(self) -> int:
        """How many it has open; files do not count, which it opens and closes all the time."""
        found = 0
        for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                found += str(path.readlink()).startswith("socket:")
        return found


def until(condition: Any) -> None:
    """Waits until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def serving(folder: Path, *, channels: int = 0, **settings: str) -> Iterator[Gateway]:
    """A gateway that serves the export of step 1 and looks at its volume a hundred times a second."""
    volume = Volume(folder / "volume")
    write_record(volume.run(RUN).spec, RunSpec(name="flowers"))
    export(volume.run(RUN), 1, classes=CLASSES, precision=1 / 1000, channels=channels)
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
