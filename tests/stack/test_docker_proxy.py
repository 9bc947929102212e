"""What docker-proxy lets through to the engine and, above all, what it does not: HAProxy with the stack's own rules."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.gateway.launchers.docker import DockerLauncher
from services.gateway.launchers.engine import Engine, connect
from tests.stack.fake_engine import CREATED, FakeEngine

RULES = Path("docker/docker-proxy/haproxy.cfg")
HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed (apt-get install haproxy)")

Ask = Callable[..., int]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeEngine]:
    names = ("shop-trainer-0", "shop-gateway-1", "other-trainer-0", "shop-trainer-0-copy")
    fake = FakeEngine(
        socket=tmp_path_factory.mktemp("engine") / "docker.sock", containers={name: dict(CREATED) for name in names}
    )
    fake.up()
    yield fake
    fake.down()


@pytest.fixture(scope="module")
def port(engine: FakeEngine, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    rules = (root / RULES).read_text()
    assert "bind :2375" in rules
    assert rules.count("/var/run/docker.sock") == 2
    config = tmp_path_factory.mktemp("proxy") / "haproxy.cfg"
    config.write_text(
        rules.replace("bind :2375", f"bind 127.0.0.1:{number}").replace("/var/run/docker.sock", str(engine.socket))
    )
    assert HAPROXY is not None
    process = subprocess.Popen(
        [HAPROXY, "-f", str(config)],
        env={"COMPOSE_PROJECT_NAME": "shop"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", number)) == 0:
                break
        assert process.poll() is None, "HAProxy has ended"
        time.sleep(0.02)
    yield number
    process.kill()
    process.wait()


@pytest.fixture
def ask(engine: FakeEngine, port: int) -> Ask:
    """Sends a request as it is written, byte by byte, and returns the status of the answer."""
    engine.requests.clear()

    def send(method: str, path: str, *headers: str, body: str = "") -> int:
        lines = [f"{method} {path} HTTP/1.1", "Host: docker", "Connection: close", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(("\r\n".join([*lines, "", ""]) + body).encode())
            answer = b""
            while b"\r\n" not in answer and (data := connection.recv(4096)):
                answer += data
        return int(answer.split()[1])

    return send


ALLOWED = [
    ("GET", "/_ping"),
    ("HEAD", "/_ping"),
    ("GET", "/version"),
    ("GET", "/v1.41/version"),
    ("GET", "/v1.41/containers/json"),
    ("GET", "/v1.51/containers/json?all=1"),
    ("GET", "/v1.41/containers/shop-trainer-0/json"),
    ("GET", "/containers/shop-trainer-0/json"),
    ("POST", "/v1.41/containers/shop-trainer-0/start"),
    ("POST", "/v1.41/containers/shop-trainer-0/kill?signal=SIGTERM"),
]


@pytest.mark.parametrize(("method", "path"), ALLOWED)
def test_what_a_launcher_needs_reaches_the_engine(ask: Ask, engine: FakeEngine, method: str, path: str) -> None:
    assert ask(method, path) in {200, 204, 304}
    assert len(engine.requests) == 1


REFUSED = [
    # making and changing things
    ("POST", "/v1.41/containers/create"),
    ("POST", "/v1.41/containers/create?name=shop-trainer-0"),
    ("POST", "/v1.41/containers/shop-trainer-0/exec"),
    ("POST", "/v1.41/exec/abc/start"),
    ("POST", "/v1.41/containers/shop-trainer-0/update"),
    ("POST", "/v1.41/containers/shop-trainer-0/rename?name=x"),
    ("POST", "/v1.41/containers/shop-trainer-0/attach"),
    ("GET", "/v1.41/containers/shop-trainer-0/attach/ws"),
    ("GET", "/v1.41/containers/shop-trainer-0/archive?path=/"),
    ("HEAD", "/v1.41/containers/shop-trainer-0/archive?path=/"),
    ("PUT", "/v1.41/containers/shop-trainer-0/archive?path=/"),
    ("GET", "/v1.41/containers/shop-trainer-0/export"),
    ("DELETE", "/v1.41/containers/shop-trainer-0"),
    ("POST", "/v1.41/containers/prune"),
    ("POST", "/v1.41/commit?container=shop-trainer-0"),
    # everything that is no container
    ("GET", "/v1.41/images/json"),
    ("POST", "/v1.41/images/create?fromImage=x"),
    ("POST", "/v1.41/build"),
    ("GET", "/v1.41/volumes"),
    ("POST", "/v1.41/volumes/create"),
    ("GET", "/v1.41/networks"),
    ("GET", "/v1.41/secrets"),
    ("GET", "/v1.41/info"),
    ("GET", "/v1.41/system/df"),
    ("POST", "/v1.41/swarm/init"),
    ("GET", "/v1.41/plugins"),
    ("POST", "/session"),
    ("POST", "/grpc"),
    ("GET", "/"),
    ("OPTIONS", "/v1.41/containers/json"),
    ("TRACE", "/_ping"),
    # other containers
    ("POST", "/v1.41/containers/shop-gateway-1/start"),
    ("POST", "/v1.41/containers/other-trainer-0/kill?signal=SIGKILL"),
    ("POST", "/v1.41/containers/shop-trainer-0-copy/start"),
    ("GET", "/v1.41/containers/shop-gateway-1/json"),
    ("GET", "/v1.41/containers/shop-gateway-1/logs?stdout=1"),
    ("POST", "/v1.41/containers/xshop-trainer-0/start"),
    ("POST", "/v1.41/containers/shop-trainer-/start"),
    ("POST", "/v1.41/containers/shop-trainer-100/start"),
    ("POST", "/v1.41/containers/362ea381c3aa82551af49d9b9d9ca9352d84f4dde31641987c14bd667b31852e/start"),
    # tricks with paths
    ("POST", "//v1.41/containers/shop-trainer-0/start"),
    ("POST", "/v1.41//containers/shop-trainer-0/start"),
    ("POST", "/v1.41/containers//shop-trainer-0/start"),
    ("POST", "/v1.41/containers/shop-trainer-0//start"),
    ("POST", "/v1.41/containers/shop-trainer-0/start/"),
    ("POST", "/v1.41/containers/shop-trainer-0/../shop-gateway-1/start"),
    ("POST", "/v1.41/containers/shop-trainer-0/../../containers/create"),
    ("POST", "/v1.41/containers/./shop-trainer-0/start"),
    ("POST", "/v1.41/containers/shop-trainer-0/%2e%2e/create"),
    ("POST", "/v1.41/containers/shop%2Dtrainer-0/start"),
    ("POST", "/v1.41/containers/shop-trainer-0%2Fstart"),
    ("POST", "/v1.41/containers/shop-trainer-0%00/start"),
    ("POST", "/v1.41/containers/shop-trainer-0/start%20"),
    ("POST", "/v1.41/containers/shop-trainer-0/start;x"),
    ("POST", "/v1.41/containers/SHOP-trainer-0/start"),
    ("POST", "/v1.41/Containers/shop-trainer-0/start"),
    ("POST", "/V1.41/containers/shop-trainer-0/start"),
    ("POST", "/v1.41/containers/shop-trainer-0/START"),
    ("POST", "http://docker/v1.41/containers/shop-trainer-0/start"),
    ("GET", "http://docker/v1.41/images/json"),
    ("POST", "\\v1.41\\containers\\create"),
    # other versions: before 1.24 a start could bring a new HostConfig
    ("POST", "/v1.23/containers/shop-trainer-0/start"),
    ("POST", "/v1.1/containers/shop-trainer-0/start"),
    ("POST", "/v1.041/containers/shop-trainer-0/start"),
    ("POST", "/v1.410/containers/shop-trainer-0/start"),
    ("POST", "/v2.41/containers/shop-trainer-0/start"),
    ("POST", "/v1x41/containers/shop-trainer-0/start"),
    ("POST", "/v1.41/v1.41/containers/shop-trainer-0/start"),
    # right path, wrong way
    ("GET", "/v1.41/containers/shop-trainer-0/start"),
    ("PUT", "/v1.41/containers/shop-trainer-0/start"),
    ("post", "/v1.41/containers/shop-trainer-0/start"),
    ("POST", "/v1.41/containers/shop-trainer-0/start?checkpoint=x"),
    ("POST", "/v1.41/containers/shop-trainer-0/start?"),
    ("POST", "/v1.41/containers/shop-trainer-0/kill"),
    ("POST", "/v1.41/containers/shop-trainer-0/kill?signal=SIGSTOP"),
    ("POST", "/v1.41/containers/shop-trainer-0/kill?signal=SIGTERM&x=1"),
    ("POST", "/v1.41/containers/shop-trainer-0/stop?t=-1"),
    ("POST", "/v1.41/containers/json"),
    ("POST", "/v1.41/events"),
]


@pytest.mark.parametrize(("method", "path"), REFUSED)
def test_f46_everything_else_is_refused_and_never_reaches_the_engine(
    ask: Ask, engine: FakeEngine, method: str, path: str
) -> None:
    assert ask(method, path) in {400, 403}
    assert engine.requests == []


def test_a_start_with_a_body_is_refused(ask: Ask, engine: FakeEngine) -> None:
    start = "/v1.41/containers/shop-trainer-0/start"
    assert ask("POST", start, "Content-Type: application/json", body='{"Binds":["/:/host"]}') == 403
    assert ask("POST", start, "Transfer-Encoding: chunked", body="") == 403
    assert engine.requests == []


def test_a_connection_is_not_handed_over(ask: Ask, engine: FakeEngine) -> None:
    assert ask("POST", "/v1.41/containers/shop-trainer-0/start", "Upgrade: tcp", "Connection: Upgrade") == 403
    assert ask("GET", "/_ping", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA") == 403
    assert engine.requests == []


def test_a_second_request_hidden_in_a_first_is_refused_too(engine: FakeEngine, port: int) -> None:
    engine.requests.clear()
    hidden = "POST /v1.41/containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    first = f"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hidden)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall((first + hidden).encode())
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    assert not [line for line in engine.requests if "create" in line]


def test_the_list_is_that_of_the_projects_slots_whatever_is_asked_for(ask: Ask, engine: FakeEngine) -> None:
    ask("GET", "/v1.41/containers/json?all=0&size=1&filters=%7B%7D")
    assert engine.requests == [
        "GET /v1.41/containers/json?all=1&filters=%7B%22name%22%3A%5B%22%5E%2Fshop-trainer-%22%5D%7D"
    ]


def test_the_launcher_works_through_it_and_learns_when_the_engine_is_away(engine: FakeEngine, port: int) -> None:
    url = f"tcp://127.0.0.1:{port}"
    client = Engine(connect=lambda: connect(url, timeout=10), where=url)
    launcher = DockerLauncher(engine=client, project="shop", clock=time.monotonic)
    engine.containers["shop-trainer-0"] = dict(CREATED)
    assert launcher.slots() == ["trainer-0"]
    launcher.start("trainer-0")
    assert launcher.observe("trainer-0").alive
    launcher.stop("trainer-0", 60)
    launcher.kill("trainer-0")
    assert launcher.observe("trainer-0").exit_code == -9
    client.close()
