"""Every route is in `docs/api.md`, every setting of every service in `docs/operations.md`, and nothing else is."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from prometheus_client import CollectorRegistry
from pydantic_core import PydanticUndefined

from services.gateway.app import create_app
from services.gateway.errors import speaks_plainly
from services.gateway.predict.settings import PredictSettings
from services.gateway.predict.wiring import Predicting
from services.gateway.steering import journal
from shared.settings import PREFIX, Settings
from shared.states import STATES

ROOT = Path(__file__).resolve().parents[2]
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
UNDOCUMENTED = {"/openapi.json"}


def settings_of_all_services() -> dict[str, Any]:
    """Each variable's name and its field, from every `settings.py` of the services."""
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "services").glob("**/settings.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, Settings):
                found |= {PREFIX + name.upper(): field for name, field in kind.model_fields.items()}
    return found


@pytest.fixture
def app(bench: Any) -> Any:
    predicting = Predicting(
        settings=PredictSettings(), volume=bench.volume, registry=CollectorRegistry(), tell=lambda *_, **__: None
    )
    return create_app(bench.parts, registry=bench.registry, routers=predicting.routers())


def test_every_route_has_a_section_and_every_section_a_route(app: Any) -> None:
    routes = {
        f"{method} {route.path_format}"
        for route in iter_route_contexts(app.routes)
        if route.path not in UNDOCUMENTED
        for method in route.methods or ()
    }
    assert set(re.findall(r"^#+ `([A-Z]+ /\S*)`$", API, re.MULTILINE)) == routes
    assert len(routes) > 10


def test_every_section_of_a_route_shows_a_request_and_its_answer() -> None:
    sections = re.findall(r"^#+ `([A-Z]+ /\S*)`$(.*?)(?=^#+ |\Z)", API, re.MULTILINE | re.DOTALL)
    assert [title for title, text in sections if "$ curl" not in text or text.count("```") < 2] == []


def test_every_query_parameter_is_named(app: Any) -> None:
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            section = re.search(rf"^#+ `{method.upper()} {re.escape(path)}`$(.*?)(?=^#+ |\Z)", API, re.M | re.S)
            assert section is not None
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "query":
                    assert f"`{parameter['name']}`" in section.group(1), (path, parameter["name"])


def test_every_route_says_in_openapi_which_shape_its_errors_have(app: Any) -> None:
    for path, operations in app.openapi()["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            assert {"400", "413", "422", "500"} <= set(answers), path
            shape = answers["422"]["content"]["application/json"]["schema"]["$ref"]
            name = "PlainErrorAnswer" if speaks_plainly(path) else "ErrorAnswer"
            assert shape.endswith(f"/{name}"), path
            assert operation.get("summary"), path


def test_every_state_is_explained() -> None:
    assert [state for state in STATES if f"`{state}`" not in API] == []


def test_every_setting_of_every_service_stands_with_its_default_in_the_tables() -> None:
    settings = settings_of_all_services()
    rows = dict(re.findall(r"^\| `(TANDEM_[A-Z0-9_]+)` \| ([^|]*) \|", OPERATIONS, re.MULTILINE))
    assert set(rows) == set(settings)
    wrong = {}
    for name, field in settings.items():
        default = field.default
        if default is PydanticUndefined or isinstance(default, Path):
            continue  # computed, or a place that depends on the installation
        shown = "none" if default is None else str(default).lower() if isinstance(default, bool) else f"{default}"
        if rows[name].strip().strip("`") != shown:
            wrong[name] = (rows[name], shown)
    assert wrong == {}
    assert len(settings) > 30


def test_every_file_of_the_gateway_is_named() -> None:
    names = ["gateway/lock", "gateway/log.jsonl", "gateway/events.jsonl", ".lock", ".json", ".log", ".log.1"]
    assert [name for name in names if name not in OPERATIONS] == []


def test_every_kind_of_event_is_named() -> None:
    kinds = re.findall(r"^\| (\w+) \| .* \| .* \|$", journal.__doc__ or "", re.MULTILINE)[1:]
    assert "gave_up" in kinds
    assert [kind for kind in kinds if f"`{kind}`" not in OPERATIONS] == []
