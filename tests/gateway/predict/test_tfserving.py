"""TensorFlow Serving's REST API, asked over the application's routes."""

import gzip
import json
from typing import Any

import numpy as np
import pytest

from services.gateway.predict.batching import softmax
from tests.gateway.predict.asking import A, client_of
from tests.gateway.predict.bodies import BLACK, b64
from tests.gateway.predict.pictures import blank

PICTURE = b64(blank(20, 30))


@pytest.fixture
def site(models, make_serving, bench) -> Any:
    models.add_run(A, name="flowers")
    models.export(A, 3, precision=0.75)
    models.export(A, 5, precision=0.5)
    return client_of(bench, make_serving())


def load(site: Any, path: str) -> Any:
    """POSTs a black picture while models are loaded on demand, as the predictor's own thread would."""
    import threading
    import time

    done = threading.Event()

    def follow() -> None:
        while not done.is_set():
            site.serving.predictor.refresh()
            time.sleep(0.01)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        return site.post(path, json={"instances": [BLACK.tolist()]})
    finally:
        done.set()
        thread.join()


def logits(step: int) -> np.ndarray:
    values = np.zeros((1, 10), np.float32)
    values[0, step % 10] = 3.0 + step / 100
    return values


@pytest.mark.parametrize(
    "instances",
    [
        [BLACK.tolist()],
        [{"images": BLACK.tolist()}],
        [PICTURE],
        [{"images": PICTURE}],
        [BLACK.tolist(), PICTURE, {"images": PICTURE}],
    ],
    ids=["nested", "named", "b64", "named b64", "mixed"],
)
def test_rows_are_answered_by_rows_of_probabilities(site, instances: list[Any]) -> None:
    answer = site.post("/v1/models/flowers:predict", json={"instances": instances})
    assert answer.status_code == 200
    assert list(answer.json()) == ["predictions"]
    np.testing.assert_allclose(answer.json()["predictions"], softmax(logits(3)).repeat(len(instances), 0), rtol=1e-6)
    assert (answer.headers["x-tandem-step"], answer.headers["x-tandem-precision"]) == ("3", "0.75")


@pytest.mark.parametrize("inputs", [[BLACK.tolist()], {"images": [BLACK.tolist()]}, {"images": [PICTURE]}])
def test_columns_are_answered_by_a_column(site, inputs: Any) -> None:
    answer = site.post("/v1/models/flowers:predict", json={"inputs": inputs, "signature_name": "logits"})
    assert list(answer.json()) == ["outputs"]
    assert np.array_equal(np.array(answer.json()["outputs"], np.float32), logits(3))


def test_numbers_have_a_decimal_point_as_tensorflow_serving_writes_them(site) -> None:
    body = {"instances": [BLACK.tolist()], "signature_name": "logits"}
    row = site.post("/v1/models/flowers:predict", json=body).json()["predictions"][0]
    assert row[:4] == [0, 0, 0, pytest.approx(3.03)]
    assert {type(number) for number in row} == {float}


def test_base64_may_come_in_lines_and_without_padding(site) -> None:
    text = next(text for side in range(20, 30) if (text := b64(blank(side, 30))["b64"]).endswith("="))
    for form in (f"{text[:40]}\n{text[40:]}\n", text.rstrip("=")):
        answer = site.post("/v1/models/flowers:predict", json={"instances": [{"b64": form}]})
        assert answer.status_code == 200, answer.text


def test_content_type_is_not_asked_for_and_the_body_may_be_packed(site) -> None:
    body = json.dumps({"instances": [BLACK.tolist()]}).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert site.post("/v1/models/flowers:predict", content=body, headers=headers).status_code == 200
    packed = {"content-encoding": "gzip"}
    assert site.post("/v1/models/flowers:predict", content=gzip.compress(body), headers=packed).status_code == 200


@pytest.mark.parametrize(
    ("place", "step"),
    [("", "3"), ("/versions/5", "5"), ("/versions/3", "3"), ("/labels/latest", "5"), ("/labels/best", "3")],
)
def test_version_and_label_say_which_export_answers(site, place: str, step: str) -> None:
    answer = load(site, f"/v1/models/flowers{place}:predict")
    assert (answer.status_code, answer.headers["x-tandem-step"]) == (200, step)
    values = site.get(f"/v1/models/flowers{place}/metadata").json()
    assert values["model_spec"] == {"name": "flowers", "signature_name": "", "version": step}


def test_metadata_describes_the_signatures_as_tensorflow_serving_does(site) -> None:
    signatures = site.get("/v1/models/best/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "logits"}
    default = signatures["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    assert default["inputs"] == {
        "images": {
            "dtype": "DT_UINT8",
            "tensor_shape": {
                "dim": [{"size": size, "name": ""} for size in ("-1", "8", "8", "3")],
                "unknown_rank": False,
            },
            "name": "images:0",
        }
    }
    assert [side["size"] for side in default["outputs"]["probabilities"]["tensor_shape"]["dim"]] == ["-1", "10"]


def available(step: int) -> dict[str, Any]:
    return {"version": str(step), "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


def test_status_lists_the_versions_newest_first(site) -> None:
    assert site.get("/v1/models/flowers").json()["model_version_status"] == [available(5), available(3)]
    assert site.get("/v1/models/flowers/versions/5").json() == {"model_version_status": [available(5)]}
    assert site.get("/v1/models/flowers/labels/best").json() == {"model_version_status": [available(3)]}


def test_version_that_cannot_be_loaded_has_come_to_its_end(site, models) -> None:
    (models.export(A, 7, precision=0.9) / "model.onnx").write_bytes(b"spoilt")
    site.serving.predictor.refresh()
    status = site.get("/v1/models/flowers/versions/7").json()["model_version_status"][0]
    assert (status["state"], status["status"]["error_code"]) == ("END", "UNKNOWN")
    assert "model.onnx" in status["status"]["error_message"]


BAD = {
    "not json": (b"{", 400, "body"),
    "a list": (b"[]", 400, "body"),
    "neither": (b'{"signature_name": "logits"}', 400, "body"),
    "both": (b'{"instances": [1], "inputs": [1]}', 400, "body"),
    "unknown key": (b'{"instances": [1], "instance": 1}', 400, "instance"),
    "unknown signature": (b'{"instances": [1], "signature_name": "x"}', 400, "signature_name"),
    "signature that is no text": (b'{"instances": [1], "signature_name": ["logits"]}', 400, "signature_name"),
    "unknown input": (b'{"instances": [{"pictures": 1}]}', 400, "instances.0"),
    "no instances": (b'{"instances": []}', 400, "instances"),
    "a number": (b'{"inputs": 1}', 400, "inputs"),
    "fractions": (json.dumps({"instances": [(BLACK / 1.0).tolist()]}).encode(), 400, "instances.0.0.0.0"),
    "no picture": (b'{"instances": [{"b64": "aGVsbG8="}]}', 415, "instances.0.b64"),
}


@pytest.mark.parametrize(
    ("instance", "told"),
    [
        (5, "instances.0: is 5, not a list of 8. "),
        ("aGVsbG8=", "instances.0: is 'aGVsbG8=', not a list of 8. "),
        (
            (BLACK + 0.5).tolist(),
            "instances.0.0.0.0: is 0.5, not an integer from 0 to 255. Pixels are sent as they are",
        ),
        ((BLACK.astype(int) + 256).tolist(), "instances.0.0.0.0: is 256, not an integer from 0 to 255"),
        ({"b64": "data:image/png;base64,aGVsbG8="}, "instances.0.b64: is not base64: "),
    ],
)
def test_misfit_is_told_with_what_came(site, instance: Any, told: str) -> None:
    answer = site.post("/v1/models/flowers:predict", json={"instances": [instance]})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(told)


def test_more_than_is_taken_at_once_says_what_to_do(site) -> None:
    answer = site.post("/v1/models/flowers:predict", json={"instances": [BLACK.tolist()] * 17})
    assert (
        answer.json()["error"] == "instances: holds 17 instances; 16 are taken at once. Send them in several requests"
    )


@pytest.mark.parametrize("name", BAD)
def test_error_is_a_sentence_with_the_field_in_it(site, name: str) -> None:
    body, status, where = BAD[name]
    answer = site.post("/v1/models/flowers:predict", content=body)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(f"{where}: ")
    assert answer.json()["where"] == where


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/nobody",
        "/v1/models/nobody/metadata",
        "/v1/models/flowers/versions/4",
        "/v1/models/flowers/versions/x",
        "/v1/models/flowers/versions/-1/metadata",
        "/v1/models/flowers/labels/nobody",
        "/v1/models/flowers/nothing",
    ],
)
def test_what_is_not_there_is_404_in_the_protocols_own_shape(site, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code == 404
    assert isinstance(answer.json()["error"], str)


def test_unknown_query_parameter_and_wrong_method_have_the_protocols_own_shape_too(site) -> None:
    for answer, status in (
        (site.get("/v1/models/flowers/metadata?x=1"), 400),
        (site.request("PUT", "/v1/models/flowers:predict"), 405),
        (site.post("/v1/models/flowers:predict", content=bytes(17 * 2**20)), 413),
    ):
        assert answer.status_code == status
        assert isinstance(answer.json()["error"], str)


def test_what_tensorflow_serving_has_and_this_has_not_says_what_there_is(site) -> None:
    answer = site.post("/v1/models/flowers:regress", json={"examples": [{"x": 1.0}]})
    assert answer.status_code == 404
    assert "`:predict`" in answer.json()["error"]
    for place, model in (("versions/5", "flowers@5"), ("labels/latest", "flowers@latest")):
        answer = site.post(f"/v1/models/flowers/{place}:classify", json={"examples": [{"x": 1.0}]})
        assert answer.status_code == 404
        assert f"/v1/models/{model}:classify" in answer.json()["error"]


@pytest.mark.parametrize("place", ["", "/versions/5", "/labels/latest"])
def test_predicting_takes_post_alone(site, place: str) -> None:
    answer = site.get(f"/v1/models/flowers{place}:predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert isinstance(answer.json()["error"], str)


def test_model_says_whether_it_is_ready(site, models) -> None:
    assert site.get("/v1/models/flowers").json()["ready"] is True
    models.add_run("20260101-000000-b-0002", name="spoilt")
    (models.export("20260101-000000-b-0002", 1) / "model.onnx").write_bytes(b"spoilt")
    site.serving.predictor.refresh()
    assert site.get("/v1/models/spoilt").json()["ready"] is False
