import asyncio
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from services.gateway.predict import routes

OLD, NEW = "20260101-000000-a-0001", "20260102-000000-b-0002"


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


class Site:
    """An application with the routes of predicting, with or without the way around routing."""

    def __init__(self, serving: Any, *, installed: bool) -> None:
        self.app = FastAPI()
        self.app.include_router(
            routes.router(predictor=serving.predictor, classifier=serving.classifier, errors={404: {}})
        )
        if installed:
            routes.install(self.app, classifier=serving.classifier)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def whole() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                return await client.request(method, path, **options)

        return asyncio.run(whole())


@pytest.fixture(params=[True, False], ids=["around routing", "through routing"])
def site(request: pytest.FixtureRequest, models, make_serving) -> Site:
    models.add_run(OLD, name="flowers")
    models.export(OLD, 3, precision=0.5)
    models.export(NEW, 5, precision=0.25)
    return Site(make_serving(), installed=request.param)


def test_picture_is_classified(site: Site) -> None:
    answer = site.request(
        "POST", "/v1/models/best:classify?top=2", content=png(), headers={"content-type": "image/png"}
    )
    assert answer.status_code == 200
    assert (answer.json()["run"], answer.json()["step"]) == (NEW, 5)
    assert len(answer.json()["predictions"][0]["classes"]) == 2
    assert (answer.headers["x-tandem-run"], answer.headers["x-tandem-step"]) == (NEW, "5")
    assert answer.headers["content-type"] == "application/json"


def test_errors_have_the_one_shape(site: Site) -> None:
    answer = site.request("POST", "/v1/models/nobody:classify", content=png(), headers={"content-type": "image/png"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_other_methods_and_paths_are_left_to_routing(site: Site) -> None:
    assert site.request("GET", "/v1/models/best:nothing").status_code != 200
    assert site.request("PUT", "/v1/models/best:classify").status_code == 405
    assert site.request("POST", "/v1/models/a/b:classify").status_code == 404
    assert site.request("POST", "/v1/models/:classify").status_code == 404


def test_models_are_listed_best_first_with_what_answers_now(site: Site) -> None:
    models = site.request("GET", "/v1/models").json()["models"]
    assert [(model["model"], model["run"], model["step"], model["loaded"]) for model in models] == [
        ("best", NEW, 5, True),
        (NEW, NEW, 5, True),
        (OLD, OLD, 3, False),
    ]


def test_model_is_shown_by_the_name_of_its_run(site: Site) -> None:
    model = site.request("GET", "/v1/models/flowers").json()
    assert model == {
        "model": "flowers",
        "run": OLD,
        "name": "flowers",
        "step": 3,
        "weights": "ema",
        "decay": 0.9999,
        "precision_at_1": 0.5,
        "classes": [f"class-{number}" for number in range(10)],
        "input_shape": [8, 8, 3],
        "loaded": False,
    }


def test_openapi_describes_classifying(site: Site) -> None:
    operation = site.app.openapi()["paths"][routes.PATH]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "image/png",
        "image/jpeg",
        "image/webp",
        "application/octet-stream",
        "application/json",
    }
    assert {parameter["name"] for parameter in operation["parameters"]} == {"model", "top", "shape"}
    assert "200" in operation["responses"]


def test_answer_is_what_openapi_says(site: Site) -> None:
    answer = site.request("POST", "/v1/models/best:classify", content=png(), headers={"content-type": "image/png"})
    view = routes.AnswerView.model_validate_json(answer.content)
    assert json.loads(view.model_dump_json()) == answer.json()
