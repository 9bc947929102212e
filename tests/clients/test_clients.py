"""Clients that other people wrote, unchanged from the package index, against a gateway's process."""

import fcntl
import hashlib
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
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.layout import Volume
from shared.records import write_record
from shared.spec import RunSpec
from tests.processes.constant_models import export

HERE = Path(__file__).parent
RUN = "20260101-000000-flowers-0001"
CLASSES = tuple(f"class-{number}" for number in range(10))
PATIENCE = 60.0


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of the clients' own environment, made once for each list of packages."""
    requirements = HERE / "requirements.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tandem-clients"
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / digest
    found = place / "bin" / "python"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
            install = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
            installed = subprocess.run(install, capture_output=True, text=True, check=False)
            if installed.returncode:
                pytest.skip(f"the clients could not be installed: {installed.stderr[-300:]}")
            (place / "complete").touch()
    return found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of a gateway that serves two exports of the run `flowers`, the better one of step 3."""
    volume = Volume(tmp_path_factory.mktemp("clients") / "volume")
    write_record(volume.run(RUN).spec, RunSpec(name="flowers"))
    export(volume.run(RUN), 3, classes=CLASSES, precision=0.75)
    export(volume.run(RUN), 5, classes=CLASSES, precision=0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "TANDEM_GATEWAY_SLOTS": "0", "TANDEM_PREDICT_POLL_SECONDS": "0.05"}
    command = [sys.executable, "-m", "services.gateway", "--volume", str(volume.root), "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _ready(f"http://127.0.0.1:{port}/v2/health/ready"):
            assert process.poll() is None, "the gateway ended"
            assert time.monotonic() < deadline, "the gateway is not ready in time"
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def told(*command: str | Path) -> Any:
    """What a client printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def expected(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and probabilities of that step."""
    logits = np.zeros((1, 10))
    logits[0, step] = 5.0
    return logits, np.exp(logits) / np.exp(logits).sum()


@pytest.mark.slow
def test_tritonclient_works_unchanged(python: Path, address: str) -> None:
    said = told(python, HERE / "ask_triton.py", address, "flowers", "5")
    assert [said[each] for each in ("live", "ready", "model ready", "version ready", "nobody ready")] == [
        True,
        True,
        True,
        True,
        False,
    ]
    assert said["server"]["name"] == "tandem"
    assert said["model"]["versions"] == ["5"]
    logits, probabilities = expected(5)
    assert len(said["answers"]) == 12
    for answer in said["answers"].values():
        assert (answer["id"], answer["version"]) == ("7", "5")
        np.testing.assert_allclose(answer["logits"], logits.repeat(2, 0))
        np.testing.assert_allclose(answer["probabilities"], probabilities.repeat(2, 0), rtol=1e-6)
    best = f"{expected(3)[1].max():.6f}:3:class-3"
    assert said["classes True"] == said["classes False"] == [best, best]
    assert said["refused"][0] == "400"
    assert "inputs.0.shape" in said["refused"][1]
    assert said["at once"] == 20


@pytest.mark.slow
def test_programs_for_tensorflow_serving_work_unchanged(python: Path, address: str) -> None:
    said = told(python, HERE / "ask_tensorflow_serving.py", f"http://{address}", "flowers", "5")
    assert said["state of model"] == [[5, "AVAILABLE", 0], [3, "AVAILABLE", 0]]
    assert said["state of version"] == [[5, "AVAILABLE", 0]]
    assert said["state of label"] == [[3, "AVAILABLE", 0]]
    uint8, single = 4, 1  # in tensorflow.DataType
    for name, step in (("model", 3), ("version", 5), ("label", 3)):
        logits, probabilities = expected(step)
        images = {"images": [uint8, [-1, 8, 8, 3]]}
        assert said[f"signatures of {name}"] == {
            "serving_default": [images, {"probabilities": [single, [-1, 10]]}],
            "logits": [images, {"logits": [single, [-1, 10]]}],
        }
        np.testing.assert_allclose(said[f"rows of {name}"], probabilities, rtol=1e-6)
        np.testing.assert_allclose(said[f"column of {name}"], logits)
    assert said["refused"] == [400, said["refused"][1]]
    assert said["refused"][1].startswith("instances.0: ")
    assert said["missing"][0] == 404


def test_curl_is_a_client_of_every_protocol(address: str, tmp_path: Path) -> None:
    body = tmp_path / "pixels"
    body.write_bytes(bytes(192))
    asked = ["curl", "-sS", "--fail", "--data-binary", f"@{body}"]
    raw = ["-H", "content-type: application/octet-stream"]
    classified = told(*asked, *raw, f"{address}/v1/models/flowers:classify?top=1")
    assert classified["predictions"][0]["classes"][0]["label"] == "class-3"
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(picture)
    form = ["-F", f"a=@{picture}", "-F", f"b=@{picture}"]
    assert len(told("curl", "-sS", "--fail", *form, f"{address}/v1/models/flowers:classify")["predictions"]) == 2
    answer = subprocess.run(
        [*asked, "-H", "Inference-Header-Content-Length: 0", f"{address}/v2/models/flowers/infer"],
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout
    np.testing.assert_allclose(np.frombuffer(answer[-80:-40], np.float32), expected(3)[0][0])
    body.write_text(json.dumps({"instances": np.zeros((1, 8, 8, 3), int).tolist()}))
    assert list(told(*asked, f"{address}/v1/models/flowers:predict")) == ["predictions"]
