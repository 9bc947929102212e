"""The compose files as texts: what must hold for every service, and that what can be set is documented."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml


class Loader(yaml.SafeLoader):
    """Knows Compose's own tags."""


Loader.add_constructor("!reset", lambda loader, node: None)
Loader.add_constructor("!override", lambda loader, node: loader.construct_mapping(node, deep=True))


@pytest.fixture(scope="module")
def services(root: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((root / "compose.yaml").read_text())["services"]
    return found


def test_every_service_is_locked_down_and_bounded(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        assert service["mem_limit"], name
        assert "cpus" in service, name
        assert service["healthcheck"]["test"], name
        assert "privileged" not in service
        assert name == "docker-proxy" or not str(service["user"]).startswith("0"), name


def test_only_docker_proxy_mounts_the_engines_socket_and_for_reading_alone(
    services: dict[str, dict[str, Any]],
) -> None:
    mounts = {name: [v for v in service.get("volumes", ()) if "docker.sock" in v] for name, service in services.items()}
    assert [name for name, those in mounts.items() if those] == ["docker-proxy"]
    assert mounts["docker-proxy"][0].endswith(":ro")


def test_what_is_published_is_on_loopback_unless_somebody_says_otherwise(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"gateway", "grafana", "prometheus", "tensorboard"}
    for name, (port,) in published.items():
        movable = port.startswith("${TANDEM_BIND:-127.0.0.1}:")
        assert movable if name in {"gateway", "grafana"} else port.startswith("127.0.0.1:"), name


def test_nothing_waits_for_a_slot_and_nothing_restarts_one(services: dict[str, dict[str, Any]]) -> None:
    slots = {name for name in services if name.startswith("trainer-")}
    assert slots
    for service in services.values():
        assert not slots & set(service.get("depends_on", ()))
    for name in slots:
        assert services[name]["restart"] == "no"
        assert services[name]["container_name"].endswith(f"-{name}")


def test_the_control_network_is_internal_and_the_gateways_and_the_proxys_alone(root: Path) -> None:
    whole = yaml.safe_load((root / "compose.yaml").read_text())
    assert whole["networks"]["control"]["internal"]
    members = {name for name, service in whole["services"].items() if "control" in service["networks"]}
    assert members == {"gateway", "docker-proxy"}


def test_no_image_is_taken_without_a_version(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert re.search(r":(v?\d|\$\{TANDEM_TAG:-local\})", service["image"]), service["image"]


@pytest.mark.parametrize(
    "name", ["docker/compose.cpu.yaml", "docker/compose.two-gpus.yaml", "docker/offline/compose.offline.yaml"]
)
def test_an_override_changes_services_that_are_there_or_adds_slots(
    root: Path, services: dict[str, dict[str, Any]], name: str
) -> None:
    override = yaml.load((root / name).read_text(), Loader)["services"]
    assert override
    assert all(service in services or re.fullmatch(r"trainer-\d+", service) for service in override)


def test_whatever_can_be_set_is_documented(root: Path) -> None:
    documents = (root / "docs/operations.md").read_text()
    files = [root / "compose.yaml", root / "docker/stack", *root.glob("docker/**/*.yaml")]
    settable = {name for file in files for name in re.findall(r"\$\{(TANDEM_[A-Z_]+)", file.read_text())}
    assert len(settable) > 15
    assert [name for name in sorted(settable) if f"`{name}`" not in documents] == []
