"""The whole stack on a real engine: `make test-stack`. The tests are one story and run in the order of this file.

They speak to the stack through its published ports alone, and to the engine only to disturb it or to look at it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from shared.keys import create_key, revoke_key

PROJECT = "tandem-test"
TRAINER = f"{PROJECT}-trainer-0"
ENGINE = Path("/var/run/docker.pid")
SPEC = {
    "steps": 100_000,
    "batch_size": 32,
    "dataset": {"kind": "shapes", "train_examples": 2_000, "test_examples": 300},
    "cadence": {"log_steps": 10, "checkpoint_steps": 50},
}

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif("TANDEM_TEST_STACK" not in os.environ, reason="needs a Docker engine: make test-stack"),
    pytest.mark.timeout(900),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.gateway, self.prometheus = free_port(), free_port()
        self.run = ""
        self.environment = os.environ | {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "TANDEM_OFFLINE": "1",
            "TANDEM_DEVICE": "cpu",
            "TANDEM_PORT": str(self.gateway),
            "TANDEM_PROMETHEUS_PORT": str(self.prometheus),
            "TANDEM_TENSORBOARD_PORT": str(free_port()),
            "TANDEM_TRAINER_MEMORY": "4g",
            "TANDEM_EVALUATOR_MEMORY": "4g",
        }

    def compose(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            [self.root / "docker/stack", *words], env=self.environment, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"docker/stack {' '.join(words)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def api(self, method: str, path: str, body: object = None) -> Any:
        key = (self.root / "docker/secrets/operator-key").read_text().strip()
        return ask(self.gateway, method, path, body, {"Authorization": f"Bearer {key}"})

    def query(self, expression: str) -> list[Any]:
        found: list[Any] = ask(self.prometheus, "GET", f"/api/v1/query?query={quote(expression)}")["data"]["result"]
        return found

    def view(self) -> Any:
        return self.api("GET", f"/v1/runs/{self.run}")


class Refused(OSError):
    def __init__(self, status: int, headers: Any) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers


def ask(port: int, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
    # Not urllib, which leaves its socket open when the other side is restarted in the middle.
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        with connection.getresponse() as answer:
            text = answer.read()
            if answer.status >= 400:
                raise Refused(answer.status, answer.headers)
            return json.loads(text)


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


def started() -> str:
    """When the trainer's container was last started: the same as long as nothing disturbs it."""
    return docker("inspect", "--format", "{{.State.StartedAt}} {{.State.Running}}", TRAINER)


def until(look: Callable[[], Any], *, what: str, seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except (OSError, HTTPException, KeyError, subprocess.CalledProcessError) as error:
            last = error
        time.sleep(0.5)
    pytest.fail(f"within {seconds} s there was no {what} (last: {last})")


@pytest.fixture(scope="module")
def stack(root: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    made = Stack(root)
    failed_before = request.session.testsfailed
    began = time.monotonic()
    made.compose("up")
    sys.stderr.write(f"\nthe stack was up after {time.monotonic() - began:.0f} s\n")
    yield made
    if request.session.testsfailed > failed_before:
        sys.stderr.write(made.compose("ps", "--all", check=False))
        sys.stderr.write(made.compose("logs", "--tail", "80", check=False))
    made.compose("down", "--volumes")


def test_the_stack_is_up_and_its_slot_has_looked_at_its_devices(stack: Stack) -> None:
    assert stack.api("GET", "/readyz")["ready"]
    (slot,) = stack.api("GET", "/v1/slots")["slots"]
    assert slot["name"] == "trainer-0"
    assert slot["devices"][0]["kind"] == "cpu"
    assert docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", TRAINER) == "exited 0"


def test_f41_the_api_asks_for_a_key_and_health_and_metrics_do_not(stack: Stack) -> None:
    for method, path in [("GET", "/v1/runs"), ("POST", "/v1/runs")]:
        with pytest.raises(Refused) as refused:
            ask(stack.gateway, method, path, {})
        assert refused.value.status == 401
    assert ask(stack.gateway, "GET", "/livez")["live"]


def test_a_key_that_is_made_or_revoked_on_the_host_counts_at_once(stack: Stack) -> None:
    file = stack.root / "docker/secrets/gateway/keys.json"
    secret = create_key(file, name="visitor", scopes=("read",), clock=time.time)
    headers = {"Authorization": f"Bearer {secret}"}
    try:
        assert ask(stack.gateway, "GET", "/v1/runs", headers=headers)["runs"] == []
        with pytest.raises(Refused) as refused:
            ask(stack.gateway, "POST", "/v1/runs", {}, headers)
        assert refused.value.status == 403
    finally:
        revoke_key(file, "visitor")
    with pytest.raises(Refused) as refused:
        ask(stack.gateway, "GET", "/v1/runs", headers=headers)
    assert refused.value.status == 401


def test_f42_no_container_runs_as_root_or_can_write_to_its_root(stack: Stack) -> None:
    names = stack.compose("ps", "--all", "--format", "{{.Name}}").split()
    assert len(names) >= 6
    for name in names:
        host = json.loads(docker("inspect", "--format", "{{json .HostConfig}}", name))
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        assert host["LogConfig"]["Config"]["max-size"], name
        user = docker("inspect", "--format", "{{.Config.User}}", name)
        assert "docker-proxy" in name or not user.startswith(("0", "root")), name


def test_only_docker_proxy_sees_the_engines_socket_and_the_control_network_is_closed(stack: Stack) -> None:
    names = stack.compose("ps", "--all", "--format", "{{.Name}}").split()
    seeing = [name for name in names if "docker.sock" in docker("inspect", "--format", "{{json .Mounts}}", name)]
    assert seeing == [f"{PROJECT}-docker-proxy-1"]
    control = json.loads(docker("network", "inspect", f"{PROJECT}_control"))[0]
    assert control["Internal"]
    assert {one["Name"] for one in control["Containers"].values()} == {
        f"{PROJECT}-docker-proxy-1",
        f"{PROJECT}-gateway-1",
    }


def test_f46_the_gateway_can_create_nothing_on_the_engine(stack: Stack) -> None:
    program = (
        "import http.client, json\n"
        "for method, path in [('POST', '/v1.41/containers/create'), ('GET', '/v1.41/images/json'),"
        f" ('POST', '/v1.41/containers/{PROJECT}-gateway-1/kill?signal=SIGKILL'), ('POST', '/v1.41/volumes/create'),"
        " ('POST', '//v1.41/containers/create'), ('GET', '/v1.41/containers/json')]:\n"
        "    c = http.client.HTTPConnection('docker-proxy', 2375)\n"
        "    c.request(method, path)\n"
        "    a = c.getresponse()\n"
        "    print(a.status, a.read().decode().strip() if a.status == 200 else '')\n"
    )
    lines = stack.compose("exec", "-T", "gateway", "python", "-c", program).splitlines()
    assert [line.split()[0] for line in lines] == ["403"] * 5 + ["200"]
    listed = json.loads(lines[-1].partition(" ")[2])
    assert [container["Names"] for container in listed] == [[f"/{TRAINER}"]]


def test_a_run_is_started_and_its_averaged_weights_are_judged(stack: Stack) -> None:
    stack.run = stack.api("POST", "/v1/runs", {"spec": SPEC})["id"]
    until(lambda: stack.view()["state"] == "running", what="running trainer")

    def averaged() -> Any:
        verdicts = stack.api("GET", f"/v1/runs/{stack.run}/evaluations")["evaluations"]
        return [one for one in verdicts if one["weights"] == "ema" and one["precision_at_1"] is not None]

    until(averaged, what="verdict on averaged weights", seconds=180)


def test_a_picture_is_classified(stack: Stack) -> None:
    picture = [[[200, 30, 30]] * 32] * 32

    def predicted() -> Any:
        return stack.api("POST", f"/v1/models/{stack.run}:classify", {"instances": [picture]})

    answer = until(predicted, what="prediction")
    assert answer["run"] == stack.run
    assert sum(one["probability"] for one in answer["predictions"][0]["classes"]) <= 1.0001


def test_prometheus_has_series_of_every_service_and_a_firing_alert(stack: Stack) -> None:
    for name in (
        "tandem_training_step",
        "tandem_evaluation_precision",
        "tandem_run_state",
        "tandem_predict_requests_total",
        "job:tandem_memory:ratio",
    ):
        until(lambda name=name: stack.query(name), what=f"series of {name}", seconds=60)
    until(lambda: stack.query('ALERTS{alertname="TandemWatchdog", alertstate="firing"}'), what="firing test alert")


def test_a_second_up_neither_blocks_nor_disturbs_a_run(stack: Stack) -> None:
    before, step = started(), stack.view()["step"]
    gateway = docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", f"{PROJECT}-gateway-1")
    said = stack.compose("up")
    assert started() == before, said
    assert docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", f"{PROJECT}-gateway-1") == gateway
    until(lambda: stack.view()["step"] > step, what="further step")


def test_a_paused_run_leaves_no_container_running_and_goes_on_when_resumed(stack: Stack) -> None:
    stack.api("POST", f"/v1/runs/{stack.run}:pause")
    until(lambda: stack.view()["state"] == "paused", what="paused run")
    assert docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", TRAINER) == "exited 0"
    step = stack.view()["checkpoint_step"]
    assert step
    stack.api("POST", f"/v1/runs/{stack.run}:resume")
    until(lambda: stack.view()["state"] == "running" and stack.view()["step"] > step, what="resumed run")


def test_f29_a_killed_trainer_is_started_again_and_goes_on(stack: Stack) -> None:
    before = started()
    committed = stack.view()["checkpoint_step"]
    docker("kill", TRAINER)
    until(lambda: started() != before and started().endswith("true"), what="new trainer")
    until(lambda: stack.view()["step"] > committed and stack.view()["state"] == "running", what="further step")


@pytest.mark.parametrize("service", ["gateway", "evaluator", "docker-proxy"])
def test_a_trainer_does_not_notice_when_another_service_is_restarted(stack: Stack, service: str) -> None:
    before, step = started(), stack.view()["step"]
    stack.compose("restart", service)
    until(lambda: stack.api("GET", "/readyz")["ready"], what="ready gateway")
    until(lambda: stack.view()["state"] == "running" and stack.view()["step"] > step, what="further step")
    assert started() == before


def test_several_evaluators_share_the_work_and_prometheus_sees_each(stack: Stack) -> None:
    before, judged = started(), stack.view()["best"]
    stack.compose("up", "--scale", "evaluator=3")
    until(lambda: len(stack.query('up{job="evaluator"} == 1')) == 3, what="third evaluator in Prometheus")
    names = "import os; print(*sorted(os.listdir('/volume/evaluators')))"
    borne = stack.compose("exec", "-T", "gateway", "python", "-c", names).split()
    assert borne == ["evaluator", "evaluator-2", "evaluator-3"]
    healthy = ["ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--filter", "health=healthy"]
    evaluators = [*healthy, "--filter", "label=com.docker.compose.service=evaluator", "--quiet"]
    until(lambda: len(docker(*evaluators).split()) == 3, what="health of all three")
    until(lambda: max(one["step"] for one in stack.view()["latest"]) > judged["step"], what="further verdict")
    stack.compose("up", "--scale", "evaluator=1")
    assert started() == before


def test_while_the_engine_is_away_requests_are_refused_and_no_run_changes(stack: Stack) -> None:
    before = started()
    runs = len(stack.api("GET", "/v1/runs")["runs"])
    stack.compose("stop", "docker-proxy")
    with pytest.raises(Refused) as refused:
        stack.api("POST", "/v1/runs", {"spec": SPEC})
    assert refused.value.status == 503
    assert int(refused.value.headers["Retry-After"]) > 0
    with pytest.raises(Refused) as refused:
        stack.api("POST", f"/v1/runs/{stack.run}:stop")
    assert refused.value.status == 503
    assert stack.view()["state"] == "running"
    stack.compose("start", "docker-proxy")
    until(lambda: stack.api("GET", "/readyz")["ready"], what="ready gateway")
    assert len(stack.api("GET", "/v1/runs")["runs"]) == runs
    assert stack.view()["state"] == "running"
    assert started() == before


def fence(stack: Stack) -> int:
    """The number under which the run's newest trainer works."""
    events = stack.api("GET", f"/v1/runs/{stack.run}/events?limit=10000")["events"]
    return max(event["details"]["fence"] for event in events if event["kind"] == "assigned")


@pytest.mark.restarts
@pytest.mark.skipif("TANDEM_ENGINE_RESTARTS" not in os.environ, reason="the engine that runs is somebody else's")
def test_f47_a_run_goes_on_from_its_checkpoint_under_a_greater_fence_when_the_engine_is_restarted(stack: Stack) -> None:
    before, number, engine = started(), fence(stack), ENGINE.read_text()
    committed = stack.view()["checkpoint_step"]
    os.kill(int(engine), signal.SIGTERM)
    until(lambda: ENGINE.read_text() != engine and docker("info"), what="new engine")
    until(lambda: stack.api("GET", "/readyz")["ready"], what="ready gateway")
    until(lambda: started() != before and started().endswith("true"), what="new trainer")
    until(lambda: stack.view()["state"] == "running" and stack.view()["step"] > committed, what="further step")
    assert fence(stack) > number
    assert stack.view()["checkpoint_step"] >= committed
    assert len(stack.api("GET", "/v1/runs")["runs"]) == 1


def test_up_removes_what_a_build_of_ours_has_replaced_and_nothing_of_others(stack: Stack) -> None:
    def nameless(text: str) -> str:
        built = subprocess.run(
            ["docker", "build", "--quiet", "-"], input=text, capture_output=True, text=True, check=True
        )
        return built.stdout.strip()

    ours = nameless("FROM tandem-docker-proxy:local\nLABEL replaced=1\n")
    others = nameless("FROM tandem-docker-proxy:local\nLABEL tandem=bicycles\n")
    try:
        stack.compose("up")
        assert ours not in docker("images", "--no-trunc", "--quiet", "--filter", "dangling=true").split()
        assert others in docker("images", "--no-trunc", "--quiet", "--filter", "dangling=true").split()
    finally:
        docker("rmi", others)


def test_a_stopped_run_commits_and_its_container_ends(stack: Stack) -> None:
    stack.api("POST", f"/v1/runs/{stack.run}:stop")
    until(lambda: stack.view()["state"] == "stopped", what="stopped run")
    assert docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", TRAINER) == "exited 0"
    assert stack.view()["checkpoint_step"] == stack.view()["step"]


def test_down_leaves_nothing_behind(stack: Stack) -> None:
    stack.compose("down", "--volumes")
    for kind in ("ps --all", "volume ls", "network ls"):
        filters = ["--filter", f"label=com.docker.compose.project={PROJECT}", "--quiet"]
        assert docker(*kind.split(), *filters) == ""
