"""No name in a request leads to a file that is none of the volume's, whatever place of whatever route it stands in.

Python tells an audit hook of every file that is opened, listed, made, moved or removed. While the requests come in,
each of those must be one of the volume, of the gateway's own files, or of Python itself.
"""

import http.client
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.layout import Volume
from tests.gateway.openapi.serving import Served, served

SECRET = "what nobody outside may read"
TOUCHES = {
    "open",
    "os.listdir",
    "os.scandir",
    "os.mkdir",
    "os.rmdir",
    "os.remove",
    "os.rename",
    "os.link",
    "os.symlink",
}
TOUCHES |= {"os.truncate", "os.chmod", "os.chown", "os.utime", "shutil.rmtree", "shutil.copyfile", "shutil.move"}
PYTHON = tuple({os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, *sys.path) if path})
SYSTEM = ("/proc", "/sys", "/dev", "/usr", "/lib")
CLIMBS = [
    *(f"{'..%2f' * depth}outside%2fsecret.json" for depth in range(1, 7)),
    *(f"{'%2e%2e%2F' * depth}outside" for depth in (2, 3)),
    *(
        "..%2f..%2foutside%2fsecret",
        "..%5c..%5coutside",
        "%2e%2e",
        "..;",
        "....%2f%2foutside",
        "%252e%252e%252foutside",
    ),
    *("..%00", "%00", "secret%00.json", "..%2f..%2foutside%00"),
    *("%c0%ae%c0%ae%c0%afoutside", "%ef%bc%8e%ef%bc%8e%ef%bc%8foutside", "%e2%80%a5%e2%81%84outside", "%ff%fe"),
    *(
        "%2fetc%2fpasswd",
        "file:%2f%2f%2fetc%2fpasswd",
        "~root",
        "$HOME",
        ".lock",
        ".tmp-x",
        ".trash-x",
        "CON",
        "a" * 300,
    ),
]

_touched: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _touched is not None and event in TOUCHES:
        paths = arguments[:2] if event in ("os.rename", "os.link", "os.symlink") else arguments[:1]
        _touched.extend(os.fsdecode(path) for path in paths if isinstance(path, str | bytes | os.PathLike))


@pytest.fixture(scope="module")
def hook() -> None:
    """Hooks stay for good, so this one rests but for the requests of this file."""
    sys.addaudithook(_hook)


@contextmanager
def touching(hook: None) -> Iterator[list[str]]:
    """Collects the path of every file that this process touches meanwhile."""
    global _touched  # noqa: PLW0603
    _touched = found = []
    try:
        yield found
    finally:
        _touched = None


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Beside the volume: a folder that looks like a run, and a secret."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("secret.json", "spec.json", "secret", "model.onnx"):
        (folder / name).write_text(json.dumps({"schema_version": 1, "message": SECRET}))
    return folder


@pytest.fixture
def gateway(tmp_path: Path, outside: Path) -> Iterator[Served]:
    with served(tmp_path) as made:
        yield made


class Attacker:
    """Sends paths exactly as they are written, with a key that opens everything."""

    def __init__(self, gateway: Served) -> None:
        self._address = gateway.url.removeprefix("http://")
        self._headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection(self._address, timeout=30)
        self.sent = 0

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        self.sent += 1
        data = b"{}" if body is None else json.dumps(body).encode()
        self._connection.request(method, path, data, self._headers | headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.will_close:
            self._connection.close()
        return answer.status, text

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def attacker(gateway: Served) -> Iterator[Attacker]:
    made = Attacker(gateway)
    yield made
    made.close()


def attacks(attacker: Attacker, gateway: Served) -> Iterator[tuple[str, str]]:
    """Each route with each of its parameters, in path and query, replaced by each name."""
    description = json.loads(attacker.send("GET", "/openapi.json")[1])
    valid = {"run": gateway.runs[0], "model": gateway.runs[0], "step": str(gateway.steps[0]), "weights": "raw"}
    for path, methods in description["paths"].items():
        named = re.findall(r"{(\w+)}", path)
        for method, operation in methods.items():
            queried = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
            for climb in CLIMBS:
                for victim in named:
                    filled = {name: climb if name == victim else valid.get(name, "0") for name in named}
                    yield method.upper(), path.format(**filled)
                if method == "get" and queried:
                    filled = {name: valid.get(name, "0") for name in named}
                    yield "GET", path.format(**filled) + "?" + "&".join(f"{name}={climb}" for name in queried)
    for climb in CLIMBS:
        yield "GET", f"/{climb}"
        yield "GET", f"/static/{climb}"
        yield "GET", f"/v1/{climb}"


def bodies(gateway: Served) -> Iterator[tuple[str, str, Any]]:
    """What names something in a body, with each name as it is meant to arrive."""
    for name in (
        "../../outside",
        "/etc/passwd",
        "..",
        "a/../../outside",
        "..\\outside",
        "a\x00b",
        "\uff0e\uff0e",
        "~root",
    ):
        for spec in ({"name": name}, {"model": {"name": name}}, {"dataset": {"kind": name}}, {"labels": {name: name}}):
            yield "POST", "/v1/runs", {"spec": spec}
        for recipe in (name, f"{name}.yaml", f"./{name}"):
            yield "POST", "/v1/runs", {"recipe": recipe}
            yield "POST", "/v1/specs:check", {"recipe": recipe}
            yield "POST", f"/v1/runs/{gateway.runs[0]}:fork", {"recipe": recipe}
        yield "POST", "/v1/runs:pause", {"runs": [name]}
        yield "POST", "/v1/runs:delete", {"runs": [name]}
        yield "POST", "/v1/runs:delete", {"filter": {"name": name}}
        yield "PUT", f"/v1/models/{gateway.runs[0]}/aliases/production", {"step": name}
        yield "PATCH", f"/v1/runs/{gateway.runs[0]}", {"labels": {name: name}}


def strange(touched: list[str], root: Path) -> set[str]:
    """What was touched and is neither the gateway's nor Python's."""
    own = (str(root / "volume"), str(root / "recipes"), str(root / "keys.json"), str(root / "audit.jsonl"))
    allowed = tuple(os.path.realpath(path) for path in own) + PYTHON + SYSTEM
    return {path for path in touched if not os.path.realpath(path).startswith(allowed)}


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_name_in_a_request_leads_out_of_the_volume(
    gateway: Served, attacker: Attacker, outside: Path, hook: None
) -> None:
    before = listing(outside)
    runs = {path.name for path in (outside.parent / "volume" / "runs").iterdir()}
    with touching(hook) as touched:
        for method, path in attacks(attacker, gateway):
            status, text = attacker.send(method, path)
            assert status < 500 or status == 503, f"{method} {path}: {status} {text!r}"
            assert SECRET.encode() not in text, f"{method} {path}"
            assert b"root:x:0:0" not in text, f"{method} {path}"
        for method, path, body in bodies(gateway):
            status, text = attacker.send(method, path, body, **{"Idempotency-Key": "../../outside/key"})
            assert status < 500, f"{method} {path} {body}: {status} {text!r}"
            assert SECRET.encode() not in text, f"{method} {path} {body}"
    assert attacker.sent > 1_000
    assert len(touched) > 100, "the hook sees what is opened"
    assert strange(touched, outside.parent) == set()
    assert listing(outside) == before
    assert {path.name for path in (outside.parent / "volume" / "runs").iterdir()} >= runs


def test_the_hook_would_see_a_file_outside(tmp_path: Path, outside: Path, hook: None) -> None:
    (tmp_path / "volume").mkdir()
    with touching(hook) as touched:
        (tmp_path / "volume" / ".." / "outside" / "secret").read_text()
        list(outside.iterdir())
        (tmp_path / "volume" / "fine").write_text("")
    assert {os.path.realpath(path) for path in strange(touched, tmp_path)} == {str(outside / "secret"), str(outside)}


def test_what_a_link_on_the_volume_leads_to_is_neither_told_nor_removed(
    gateway: Served, attacker: Attacker, outside: Path
) -> None:
    # Whoever may write to the volume can have the gateway open what the gateway may read; it must not say what it read.
    volume = Volume(outside.parent / "volume")
    victim = volume.run(gateway.runs[0])
    before = listing(outside)
    for path in sorted(victim.root.rglob("*")):
        if path.is_file() and path != victim.spec:
            path.unlink()
            path.symlink_to(outside / "secret.json")
    (victim.root / "linked").symlink_to(outside)
    (volume.runs / "20260101-000000-linked-0001").symlink_to(outside)
    description = json.loads(attacker.send("GET", "/openapi.json")[1])
    for run in (gateway.runs[0], "20260101-000000-linked-0001"):
        known = {"run": run, "model": run, "step": str(gateway.steps[0]), "weights": "raw"}
        for path, methods in description["paths"].items():
            if "get" in methods:
                where = re.sub(r"{(\w+)}", lambda found, known=known: known.get(found.group(1), "0"), path)
                status, text = attacker.send("GET", where)
                assert SECRET.encode() not in text, f"GET {where}: {status}"
        for verb in (":kill", ":stop"):
            attacker.send("POST", f"/v1/runs/{run}{verb}")
        attacker.send("DELETE", f"/v1/runs/{run}")
    assert listing(outside) == before
