import json
from typing import Any

import pytest

from services.gateway.predict import routes
from tests.gateway.predict.asking import A, B, client_of
from tests.gateway.predict.bodies import png


@pytest.fixture(params=[True, False], ids=["around routing", "through routing"])
def site(request: pytest.FixtureRequest, models, make_serving, bench) -> Any:
    """A client of the gateway's application, with and without the way around routing."""
    models.add_run(A, name="flowers")
    models.export(A, 3, precision=0.5)
    models.export(B, 5, precision=0.25)
    serving = make_serving()
    client = client_of(bench, serving)
    if request.param:
        routes.install(client.app, classifier=serving.classifier)
    return client


def test_picture_is_classified(site) -> None:
    answer = site.request(
        "POST", "/v1/models/best:classify?top=2", content=png(), headers={"content-type": "image/png"}
    )
    assert answer.status_code == 200
    assert (answer.json()["run"], answer.json()["step"]) == (B, 5)
    assert len(answer.json()["predictions"][0]["classes"]) == 2
    assert (answer.headers["x-tandem-run"], answer.headers["x-tandem-step"]) == (B, "5")
    assert answer.headers["content-type"] == "application/json"


def test_errors_have_the_one_shape(site) -> None:
    answer = site.request("POST", "/v1/models/nobody:classify", content=png(), headers={"content-type": "image/png"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_other_methods_and_paths_are_left_to_routing(site) -> None:
    assert site.request("GET", "/v1/models/best:nothing").status_code == 404
    for method in ("PUT", "GET", "HEAD", "OPTIONS"):
        for verb in ("classify", "predict"):
            answer = site.request(method, f"/v1/models/best:{verb}")
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST"), method
    assert site.request("POST", "/v1/models/best:regress").status_code == 404
    assert site.request("POST", "/v1/models/a/b:classify").status_code == 404
    assert site.request("POST", "/v1/models/:classify").status_code == 404


def test_models_are_listed_best_first_with_what_answers_now(site) -> None:
    models = site.request("GET", "/v1/models").json()["models"]
    assert [(model["model"], model["run"], model["step"], model["loaded"]) for model in models] == [
        ("best", B, 5, True),
        (B, B, 5, True),
        (A, A, 3, False),
    ]


def test_model_is_shown_by_the_name_of_its_run(site) -> None:
    model = site.request("GET", "/v1/models/flowers").json()
    assert model == {
        "model": "flowers",
        "run": A,
        "aliases": {"best": 3, "latest": 3},
        "name": "flowers",
        "step": 3,
        "weights": "ema",
        "decay": 0.9999,
        "precision_at_1": 0.5,
        "classes": [f"class-{number}" for number in range(10)],
        "input_shape": [8, 8, 3],
        "steps": [3],
        "loaded": False,
        "ready": True,
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ],
    }


def test_openapi_describes_classifying(site) -> None:
    operation = site.app.openapi()["paths"][routes.PATH]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "image/png",
        "image/jpeg",
        "image/webp",
        "multipart/form-data",
        "application/octet-stream",
        "application/json",
    }
    assert {parameter["name"] for parameter in operation["parameters"]} == {"model", "top", "shape"}
    assert "200" in operation["responses"]


def test_answer_is_what_openapi_says(site) -> None:
    answer = site.request("POST", "/v1/models/best:classify", content=png(), headers={"content-type": "image/png"})
    view = routes.AnswerView.model_validate_json(answer.content)
    assert json.loads(view.model_dump_json()) == answer.json()


def test_readiness_is_that_a_judged_model_is_loaded(site) -> None:
    assert site.get("/readyz").status_code == 200


def test_requests_are_counted_by_the_template_of_their_route(site) -> None:
    site.post("/v1/models/best:classify", content=png(), headers={"content-type": "image/png"})
    line = 'tandem_gateway_requests_total{code="200",method="POST",route="/v1/models/{model}:classify"} 1.0'
    assert line in site.get("/metrics").text


def test_body_over_the_limit_is_refused_in_the_one_shape(site) -> None:
    answer = site.post("/v1/models/best:classify", content=bytes(17 * 2**20), headers={"content-type": "image/png"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
