"""Prometheus' configuration: what promtool says of it, and that alerts, their tests and the runbook name each other."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)")


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "docker" / "prometheus"


@pytest.fixture(scope="module")
def alerts(folder: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((folder / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*arguments: object) -> str:
    done = subprocess.run([str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_configuration_and_rules_are_valid(folder: Path) -> None:
    assert "SUCCESS" in promtool("check", "config", folder / "prometheus.yml")


@needs_promtool
def test_alerts_fire_for_what_they_are_about_and_for_nothing_else(folder: Path) -> None:
    promtool("test", "rules", folder / "tests.yml")


@needs_promtool
@pytest.mark.parametrize("name", ["TandemNoCheckpoint"])
def test_the_unit_tests_notice_an_alert_that_never_fires(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folder, tmp_path / "rules")
    broken = tmp_path / "rules" / "alerts.yml"
    text = re.sub(rf"(alert: {name}\n\s+expr: )(>-\n\s+)?", r"\1\2vector(1) < 0 and ", broken.read_text())
    assert text != broken.read_text()
    broken.write_text(text)
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", str(tmp_path / "rules" / "tests.yml")], capture_output=True, check=False
    )
    assert done.returncode != 0


def test_every_alert_has_a_unit_test(folder: Path, alerts: list[dict[str, Any]]) -> None:
    tests = (folder / "tests.yml").read_text()
    patterns = re.findall(r"Tandem[A-Za-z.*]+", tests)
    assert [rule["alert"] for rule in alerts if not any(re.fullmatch(one, rule["alert"]) for one in patterns)] == []


def test_every_alert_says_what_it_means_and_where_the_runbook_is(alerts: list[dict[str, Any]]) -> None:
    assert len(alerts) > 10
    for rule in alerts:
        notes = rule["annotations"]
        assert set(notes) == {"summary", "description", "runbook"}, rule["alert"]
        assert notes["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning", "none"}


def test_the_runbook_has_a_section_for_every_alert_and_for_no_other(root: Path, alerts: list[dict[str, Any]]) -> None:
    headings = re.findall(r"^### (Tandem\w+)$", (root / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in alerts)
