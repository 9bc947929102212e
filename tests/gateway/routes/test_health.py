from dataclasses import replace
from typing import Any

from services.gateway.app import create_app
from shared import observe


class Predictor:
    def __init__(self, reason: str | None) -> None:
        self.reason = reason

    def why_not_ready(self) -> str | None:
        return self.reason


def test_it_lives_whatever_the_volume_says(bench: Any) -> None:
    bench.volume.root.write_text("not a folder")
    assert bench.client().get("/livez").json() == {"live": True}


def test_it_is_ready_when_every_part_is(bench: Any) -> None:
    answer = bench.client().get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": {}})


def test_a_volume_that_cannot_be_written_to_is_a_reason(bench: Any) -> None:
    bench.volume.root.write_text("not a folder")
    answer = bench.client().get("/readyz")
    assert answer.status_code == 503
    assert str(bench.volume.root) in answer.json()["reasons"]["volume"]


def test_a_missing_model_is_a_reason_only_where_it_is_asked_for(bench: Any) -> None:
    def ready(predictor: Any, query: str = "?model=1") -> tuple[int, dict[str, str]]:
        client = bench.client_of(create_app(replace(bench.parts, predictor=predictor), registry=registry()))
        answer = client.get(f"/readyz{query}")
        return answer.status_code, answer.json()["reasons"]

    def registry() -> Any:
        bench.restart()
        return bench.registry

    assert ready(Predictor("nothing judged"), "") == (200, {})
    assert ready(Predictor("nothing judged")) == (503, {"model": "nothing judged"})
    assert ready(Predictor(None)) == (200, {})
    assert ready(None) == (503, {"model": "this gateway serves no models"})


def test_metrics_are_in_prometheus_format(bench: Any) -> None:
    observe.add_build_info(bench.registry, service="gateway")
    client = bench.client()
    run = bench.start()
    bench.step()
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "tandem_build_info{" in answer.text
    assert f'tandem_run_state{{run="{run}",state="starting"}} 1.0' in answer.text
