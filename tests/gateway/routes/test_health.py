from typing import Any

from shared import observe


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


def test_f35_a_missing_model_is_a_reason_only_where_it_is_asked_for(bench: Any) -> None:
    answer = bench.client().get("/readyz?model=1")
    assert (answer.status_code, answer.json()["reasons"]) == (503, {"model": "nothing was judged"})
    assert bench.client().get("/readyz").status_code == 200


def test_metrics_are_in_prometheus_format(bench: Any) -> None:
    observe.add_build_info(bench.registry, service="gateway")
    client = bench.client()
    run = bench.start()
    bench.step()
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "tandem_build_info{" in answer.text
    assert f'tandem_run_state{{run="{run}",state="starting"}} 1.0' in answer.text
