"""Every query of every panel, rule and alert, put to a real Prometheus that scraped a real run."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import yaml
from prometheus_client import CollectorRegistry

from services.trainer.gpu import Gpus
from shared import observe
from tests.trainer.fake_nvml import fake_nvml

PROMETHEUS = shutil.which("prometheus")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed (apt-get install prometheus)"),
]

SPEC = {
    "steps": 600,
    "batch_size": 32,
    "dataset": {"kind": "shapes", "train_examples": 500, "test_examples": 200},
    "cadence": {"log_steps": 10, "checkpoint_steps": 150},
}


@dataclass
class Prometheus:
    url: str
    since: float

    def ask(self, expression: str) -> list[Any]:
        """The series of an expression, from the beginning of the run until now."""
        query = {"query": expression, "start": self.since, "end": time.time(), "step": 1}
        answer: list[Any] = read_json(f"{self.url}/api/v1/query_range?{urlencode(query)}")["data"]["result"]
        return answer


def read_json(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if body is not None else {}
    with urlopen(Request(url, data=data, headers=headers), timeout=20) as answer:
        return json.load(answer)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(look: Callable[[], Any], *, seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if (found := look()) is not None:
                return found
        except OSError:
            pass
        time.sleep(0.2)
    pytest.fail(f"{what} did not come within {seconds} s")


@pytest.fixture(scope="module")
def processes() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: object, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            process = subprocess.Popen(
                [str(word) for word in command], stdout=file, stderr=file, env=os.environ | environment
            )
        started.append(process)
        return process

    yield start
    for process in reversed(started):
        process.send_signal(signal.SIGTERM)
    for process in started:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def gpus_and_limits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """What a machine with GPUs and a container with a limit would tell, where the tests run on neither."""
    cgroup = tmp_path_factory.mktemp("cgroup")
    (cgroup / "memory.max").write_text(str(4 * 2**30))
    registry = CollectorRegistry()
    registry.register(Gpus(nvml=fake_nvml()))
    observe.add_process(registry, cgroup=cgroup)
    port, stop = observe.serve_metrics(registry, host="127.0.0.1", port=0)
    yield port
    stop()


@pytest.fixture(scope="module")
def prometheus(
    root: Path,
    tmp_path_factory: pytest.TempPathFactory,
    processes: Callable[..., subprocess.Popen[bytes]],
    gpus_and_limits: int,
) -> Prometheus:
    """A Prometheus with the stack's own rules that has seen a run from its start to its first predictions."""
    folder = tmp_path_factory.mktemp("queries")
    volume = folder / "volume"
    ports = {name: free_port() for name in ("gateway", "evaluator", "trainer", "prometheus")}
    since = time.time()
    targets = {name: [f"127.0.0.1:{ports[name]}"] for name in ("gateway", "evaluator", "trainer", "prometheus")}
    targets["trainer"].append(f"127.0.0.1:{gpus_and_limits}")
    jobs = [{"job_name": name, "static_configs": [{"targets": those}]} for name, those in targets.items()]
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(root / "docker/prometheus" / name) for name in ("rules.yml", "alerts.yml")],
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    processes(
        PROMETHEUS,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
        log=folder / "prometheus.log",
    )
    processes(
        sys.executable, "-m", "services.evaluator", "--volume", volume,
        log=folder / "evaluator.log",
        TANDEM_EVALUATOR_METRICS_PORT=str(ports["evaluator"]),
    )  # fmt: skip
    processes(
        sys.executable, "-m", "services.gateway", "--volume", volume, "--port", ports["gateway"],
        "--stop-slots-on-exit",
        log=folder / "gateway.log",
        TANDEM_TRAINER_METRICS_PORT=str(ports["trainer"]),
    )  # fmt: skip
    gateway = f"http://127.0.0.1:{ports['gateway']}"
    until(lambda: read_json(f"{gateway}/livez"), seconds=60, what="the gateway")
    found = Prometheus(url=f"http://127.0.0.1:{ports['prometheus']}", since=since)
    # What grows with the run is scraped before it grows, or nobody sees that it does.
    until(lambda: found.ask("tandem_predict_swaps_total") or None, seconds=60, what="a scrape of the gateway")
    run = read_json(f"{gateway}/v1/runs", {"spec": SPEC})["id"]
    pixels = [[[128, 64, 32]] * 32] * 32

    def predicted() -> Any:
        return read_json(f"{gateway}/v1/models/{run}:classify", {"instances": [pixels]})

    until(predicted, seconds=120, what="a prediction")

    def two_judged() -> Any:
        predicted()
        return (
            len({one["step"] for one in read_json(f"{gateway}/v1/runs/{run}/evaluations")["evaluations"]}) > 1 or None
        )

    until(two_judged, seconds=120, what="a second verdict")
    for expression, what in {
        "rate(tandem_evaluation_seconds_count[15m]) > 0": "a scraped verdict",
        "job:tandem_predict_slow:ratio_rate5m": "a scraped prediction",
        "increase(tandem_predict_swaps_total[30s]) > 0": "a scraped exchange of models",
    }.items():
        until(lambda expression=expression: found.ask(expression) or None, seconds=60, what=what)
    return found


def dashboard_queries(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((root / "docker/grafana/dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", re.sub(r"\$(run|model)", ".*", target["expr"])
        for annotation in board["annotations"]["list"]:
            yield f"{path.stem}: {annotation['name']}", re.sub(r"\$(run|model)", ".*", annotation["expr"])


def variable_queries(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((root / "docker/grafana/dashboards").glob("*.json")):
        for variable in json.loads(path.read_text())["templating"]["list"]:
            match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"])
            assert match is not None
            yield match.group(1), match.group(2)


def test_every_panel_and_annotation_has_something_to_show(root: Path, prometheus: Prometheus) -> None:
    queries = list(dashboard_queries(root))
    assert len(queries) > 30
    assert [(where, query) for where, query in queries if not prometheus.ask(query)] == []


def test_every_choice_at_the_top_of_a_dashboard_has_values(root: Path, prometheus: Prometheus) -> None:
    for metric, label in variable_queries(root):
        assert any(label in series["metric"] for series in prometheus.ask(metric)), (metric, label)


def test_every_rule_records_something(root: Path, prometheus: Prometheus) -> None:
    groups = yaml.safe_load((root / "docker/prometheus/rules.yml").read_text())["groups"]
    names = [rule["record"] for group in groups for rule in group["rules"]]
    assert [name for name in names if not prometheus.ask(name)] == []


def test_every_metric_that_an_alert_looks_at_is_there(root: Path, prometheus: Prometheus) -> None:
    groups = yaml.safe_load((root / "docker/prometheus/alerts.yml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        prometheus.ask(rule["expr"])  # a query that is none raises
        # Without what narrows it down to the trouble itself, such as state="failed".
        for name in set(re.findall(r"\b(?:\w+:)?(?:tandem|process|up)\w*(?::\w+)?", rule["expr"])):
            assert prometheus.ask(name), f"{rule['alert']}: {name}"


def test_no_rule_fails_to_be_evaluated(prometheus: Prometheus) -> None:
    groups = read_json(f"{prometheus.url}/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert any(rule["name"] == "TandemWatchdog" and rule["state"] == "firing" for rule in rules)
