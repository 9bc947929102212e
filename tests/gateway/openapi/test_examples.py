"""Every route shows what it takes and answers, and what it shows is what its schema says."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from prometheus_client import CollectorRegistry

from services.gateway.openapi_examples import ANSWERS, BODIES
from services.gateway.predict.settings import PredictSettings
from services.gateway.predict.wiring import Predicting

BINARY = ("image/", "application/octet-stream", "multipart/form-data")


@pytest.fixture
def description(bench: Any) -> Any:
    predicting = Predicting(
        settings=PredictSettings(), volume=bench.volume, registry=CollectorRegistry(), tell=bench.journal.note
    )
    return bench.app(routers=predicting.routers()).openapi()


def operations(description: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents(operation: Any) -> Iterator[tuple[str, Any]]:
    """The bodies that it takes and successes that it answers, binary ones aside."""
    given = [operation.get("requestBody", {})]
    answered = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
    for each in given + answered:
        for kind, content in each.get("content", {}).items():
            if not kind.startswith(BINARY):
                yield kind, content


def example_of(content: Any, description: Any) -> Any:
    if "example" in content:
        return content["example"]
    schema = content.get("schema", {})
    for each in (schema, *schema.get("anyOf", ())):
        named = description["components"]["schemas"].get(each.get("$ref", "").rpartition("/")[2], each)
        if "example" in named:
            return named["example"]
    return None


def test_every_body_and_every_success_has_an_example(description: Any) -> None:
    bare = [
        f"{route}: {kind}"
        for route, operation in operations(description)
        for kind, content in contents(operation)
        if example_of(content, description) is None
    ]
    assert bare == []


def test_every_example_is_what_its_schema_says(description: Any) -> None:
    checked = 0
    for route, operation in operations(description):
        for kind, content in contents(operation):
            if kind == "application/json":
                schema = {**content["schema"], "components": description["components"]}
                jsonschema_rs.validator_for(schema).validate(example_of(content, description))
                checked += 1
        assert route
    assert checked > 50


def test_every_parameter_is_described(description: Any) -> None:
    silent = [
        f"{route}: {parameter['name']}"
        for route, operation in operations(description)
        for parameter in operation.get("parameters", ())
        if not (parameter.get("description") or parameter["schema"].get("description"))
    ]
    assert silent == []


def test_there_is_no_example_for_a_route_that_is_gone(description: Any) -> None:
    assert set(ANSWERS) | set(BODIES) <= {route for route, _ in operations(description)}
