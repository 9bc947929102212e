"""The dashboards as files: what Grafana 11 and newer load, and what a person can read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

UIDS = {"training": "tandem-training", "evaluation": "tandem-evaluation", "serving": "tandem-serving"}
PANELS = {"timeseries", "stat", "gauge"}
UNITS = {"none", "short", "percentunit", "s", "bytes", "reqps"}


@pytest.fixture(scope="module")
def dashboards(root: Path) -> dict[str, dict[str, Any]]:
    folder = root / "docker" / "grafana" / "dashboards"
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


# What Grafana's types leave to others: the Prometheus data source (annotations), and how the editor shows a variable.
FREE = re.compile(r"/annotations/list\[\d+\]/(step|titleFormat|textFormat|tagKeys)|/templating/list\[\d+\]/definition")


def lost(mine: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """What one document says and the other does not."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key, value in mine.items():
            yield from lost(value, theirs.get(key), f"{path}/{key}")
    elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        for position, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            yield from lost(one, other, f"{path}[{position}]")
    elif mine != theirs:
        yield path


@pytest.mark.parametrize("name", UIDS)
def test_grafanas_own_types_understand_every_word_of_a_dashboard(
    dashboards: dict[str, dict[str, Any]], name: str
) -> None:
    plugins.register_default_plugins()
    understood = json.loads(json.dumps(Dashboard.from_json(dashboards[name]), cls=JSONEncoder))
    assert [path for path in lost(dashboards[name], understood) if not FREE.fullmatch(path)] == []


def test_a_word_that_grafana_does_not_know_is_found(dashboards: dict[str, dict[str, Any]]) -> None:
    plugins.register_default_plugins()
    board = json.loads(json.dumps(dashboards["training"]))
    board["panels"][0]["fieldConfig"]["defaults"]["unti"] = "s"
    understood = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert "/panels[0]/fieldConfig/defaults/unti" in set(lost(board, understood))


@pytest.fixture(scope="module")
def source(root: Path) -> dict[str, str]:
    provisioned = yaml.safe_load((root / "docker/grafana/provisioning/datasources/prometheus.yml").read_text())
    (one,) = provisioned["datasources"]
    return {"type": one["type"], "uid": one["uid"]}


def test_links_to_a_dashboard_stay_good(dashboards: dict[str, dict[str, Any]]) -> None:
    assert {name: board["uid"] for name, board in dashboards.items()} == UIDS


def test_every_part_asks_the_provisioned_data_source(
    dashboards: dict[str, dict[str, Any]], source: dict[str, str]
) -> None:
    for board in dashboards.values():
        parts = [*board["panels"], *board["annotations"]["list"], *board["templating"]["list"]]
        parts += [target for panel in board["panels"] for target in panel["targets"]]
        assert all(part["datasource"] == source for part in parts)


@pytest.mark.parametrize("name", UIDS)
def test_a_dashboard_is_of_a_schema_that_grafana_11_knows(dashboards: dict[str, dict[str, Any]], name: str) -> None:
    board = dashboards[name]
    assert board["schemaVersion"] == 39
    assert "id" not in board or board["id"] is None
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        assert panel["type"] in PANELS
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["targets"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


@pytest.mark.parametrize("name", UIDS)
def test_a_dashboard_fits_a_screen_or_two_and_every_panel_says_what_it_shows(
    dashboards: dict[str, dict[str, Any]], name: str
) -> None:
    panels = dashboards[name]["panels"]
    assert 6 <= len(panels) <= 14
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells


@pytest.mark.parametrize("name", UIDS)
def test_what_is_chosen_at_the_top_is_heeded_below(dashboards: dict[str, dict[str, Any]], name: str) -> None:
    board = dashboards[name]
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", " ".join(t["expr"] for panel in board["panels"] for t in panel["targets"])))
    assert used == variables
