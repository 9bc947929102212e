"""The Open Inference Protocol, asked over the application's routes."""

import gzip
import json
import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.app import create_app
from services.gateway.predict.batching import softmax
from services.gateway.predict.bodies import BodyReader
from services.gateway.predict.images import ImageLimits
from services.gateway.predict.openinference import read_inference
from shared.errors import TandemError
from tests.gateway.predict.asking import A, client_of

PIXELS = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), np.uint8)
INFER = f"/v2/models/{A}/infer"
HEADER = "Inference-Header-Content-Length"


@pytest.fixture
def site(models, make_serving, bench) -> Any:
    models.export(A, 3, precision=0.75)
    return client_of(bench, make_serving())


def logits(count: int = 2) -> np.ndarray:
    values = np.zeros((count, 10), np.float32)
    values[:, 3] = 3.03
    return values


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "images", "shape": [2, 8, 8, 3], "datatype": "UINT8", "data": PIXELS.tolist()} | changes


def binary(header: dict[str, Any], tensors: bytes) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(header).encode()
    return text + tensors, {HEADER: str(len(text)), "content-type": "application/octet-stream"}


def sized(**changes: Any) -> dict[str, Any]:
    values = tensor(parameters={"binary_data_size": PIXELS.nbytes}) | changes
    del values["data"]
    return values


def test_server_and_model_describe_themselves(site) -> None:
    server = site.get("/v2").json()
    assert (server["name"], server["extensions"]) == ("tandem", ["binary_tensor_data", "classification"])
    assert site.get("/v2/health/live").status_code == 200
    assert site.get("/v2/health/ready").status_code == 200
    for path in (f"/v2/models/{A}", f"/v2/models/{A}/versions/3"):
        assert site.get(path).json() == {
            "name": A,
            "versions": ["3"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}],
            "outputs": [
                {"name": "logits", "datatype": "FP32", "shape": [-1, 10]},
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
            ],
        }
        assert site.get(f"{path}/ready").status_code == 200


@pytest.mark.parametrize("data", [PIXELS.tolist(), PIXELS.ravel().tolist()], ids=["nested", "flat"])
def test_json_is_answered_with_all_outputs(site, data: list[Any]) -> None:
    answer = site.post(INFER, json={"id": "42", "inputs": [tensor(data=data)]})
    values = answer.json()
    assert answer.status_code == 200
    assert (values["model_name"], values["model_version"], values["id"]) == (A, "3", "42")
    assert [(output["name"], output["datatype"], output["shape"]) for output in values["outputs"]] == [
        ("logits", "FP32", [2, 10]),
        ("probabilities", "FP32", [2, 10]),
    ]
    assert np.array_equal(np.array(values["outputs"][0]["data"], np.float32), logits().ravel())
    np.testing.assert_allclose(values["outputs"][1]["data"], softmax(logits()).ravel(), rtol=1e-6)
    assert answer.headers["x-tandem-run"] == A


@pytest.mark.parametrize("packing", ["", "gzip", "deflate"])
def test_binary_tensors_are_taken_and_given(site, packing: str) -> None:
    body, headers = binary(
        {"inputs": [sized()], "outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}, PIXELS.tobytes()
    )
    if packing:
        body = gzip.compress(body) if packing == "gzip" else zlib.compress(body)
        headers["content-encoding"] = packing
    answer = site.post(INFER, content=body, headers=headers)
    length = int(answer.headers[HEADER])
    header = json.loads(answer.content[:length])
    assert answer.status_code == 200
    assert header["outputs"] == [
        {"name": "logits", "datatype": "FP32", "shape": [2, 10], "parameters": {"binary_data_size": 80}}
    ]
    assert np.array_equal(np.frombuffer(answer.content[length:], np.float32).reshape(2, 10), logits())


def test_all_outputs_are_binary_when_the_request_says_so(site) -> None:
    body, headers = binary({"inputs": [sized()], "parameters": {"binary_data_output": True}}, PIXELS.tobytes())
    answer = site.post(INFER, content=body, headers=headers)
    length = int(answer.headers[HEADER])
    assert [output["parameters"] for output in json.loads(answer.content[:length])["outputs"]] == [
        {"binary_data_size": 80}
    ] * 2
    assert len(answer.content) == length + 160


def test_body_may_be_the_one_tensor_and_nothing_else(site) -> None:
    answer = site.post(INFER, content=PIXELS.tobytes(), headers={HEADER: "0"})
    assert answer.status_code == 200
    assert len(answer.content) == int(answer.headers[HEADER]) + 160


@pytest.mark.parametrize("as_binary", [False, True])
def test_classification_names_the_greatest_values(site, as_binary: bool) -> None:
    wanted = {"name": "probabilities", "parameters": {"classification": 2, "binary_data": as_binary}}
    answer = site.post(INFER, json={"inputs": [tensor()], "outputs": [wanted]})
    length = int(answer.headers.get(HEADER, len(answer.content)))
    output = json.loads(answer.content[:length])["outputs"][0]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    value = softmax(logits())[0, 3]
    first = f"{value:.6f}:3:class-3"
    if as_binary:
        size = struct.unpack_from("<I", answer.content, length)[0]
        assert answer.content[length + 4 : length + 4 + size].decode() == first
    else:
        assert output["data"][0] == first


BAD = {
    "not json": (b"{", "body"),
    "a list": (b"[]", "body"),
    "no inputs": (b"{}", "inputs"),
    "two inputs": (json.dumps({"inputs": [tensor(), tensor()]}).encode(), "inputs"),
    "another name": (json.dumps({"inputs": [tensor(name="x")]}).encode(), "inputs.0.name"),
    "floats": (json.dumps({"inputs": [tensor(datatype="FP32")]}).encode(), "inputs.0.datatype"),
    "another shape": (json.dumps({"inputs": [tensor(shape=[2, 8, 8])]}).encode(), "inputs.0.shape"),
    "too many": (json.dumps({"inputs": [tensor(shape=[17, 8, 8, 3])]}).encode(), "inputs.0.shape"),
    "fewer rows": (json.dumps({"inputs": [tensor(shape=[3, 8, 8, 3])]}).encode(), "inputs.0.data"),
    "no data": (json.dumps({"inputs": [tensor(data=None)]}).encode(), "inputs.0.data"),
    "256": (json.dumps({"inputs": [tensor(data=[256] * 384)]}).encode(), "inputs.0.data.0"),
    "true": (json.dumps({"inputs": [tensor(data=[True] * 384)]}).encode(), "inputs.0.data.0"),
    "unknown output": (json.dumps({"inputs": [tensor()], "outputs": [{"name": "x"}]}).encode(), "outputs.0.name"),
    "a number as id": (json.dumps({"inputs": [tensor()], "id": 1}).encode(), "id"),
    "binary in words": (
        json.dumps({"inputs": [tensor()], "parameters": {"binary_data_output": "true"}}).encode(),
        "parameters.binary_data_output",
    ),
    "an output that is binary in words": (
        json.dumps({"inputs": [tensor()], "outputs": [{"name": "logits", "parameters": {"binary_data": 1}}]}).encode(),
        "outputs.0.parameters.binary_data",
    ),
    "no time": (json.dumps({"inputs": [tensor()], "parameters": {"timeout": 0}}).encode(), "parameters.timeout"),
}


@pytest.mark.parametrize("name", BAD)
def test_error_is_400_and_a_sentence_with_the_field_in_it(site, name: str) -> None:
    body, where = BAD[name]
    answer = site.post(INFER, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{where}: ")


@pytest.mark.parametrize(
    ("length", "size", "where"),
    [
        ("x", 384, HEADER.lower()),
        ("100000", 384, HEADER.lower()),
        (None, 383, "inputs.0.parameters.binary_data_size"),
        (None, None, "inputs.0.parameters"),
    ],
)
def test_binary_body_that_contradicts_itself_is_refused(site, length: str | None, size: Any, where: str) -> None:
    body, headers = binary({"inputs": [sized(parameters={"binary_data_size": size})]}, PIXELS.tobytes())
    headers[HEADER] = length or headers[HEADER]
    answer = site.post(INFER, content=body, headers=headers)
    assert (answer.status_code, answer.json()["where"]) == (400, where)


def test_body_in_binary_without_the_length_of_its_json_is_told_what_is_missing(site) -> None:
    body, headers = binary({"inputs": [sized()]}, PIXELS.tobytes())
    del headers[HEADER]
    for content in (body, PIXELS.tobytes()):
        answer = site.post(INFER, content=content, headers=headers)
        assert (answer.status_code, answer.json()["where"]) == (400, "body")
        assert HEADER in answer.json()["hint"]


def test_tensor_in_binary_may_say_that_it_has_no_other_data(site) -> None:
    body, headers = binary({"inputs": [sized() | {"data": None}]}, PIXELS.tobytes())
    assert site.post(INFER, content=body, headers=headers).status_code == 200
    body, headers = binary({"inputs": [sized() | {"data": [1]}]}, PIXELS.tobytes())
    assert site.post(INFER, content=body, headers=headers).json()["where"] == "inputs.0.data"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "input_1"}, "inputs.0.name: is 'input_1', not 'images'"),
        ({"datatype": "FP32"}, "inputs.0.datatype: is 'FP32', not 'UINT8'. Pixels are integers"),
        ({"shape": [2, 3, 8, 8]}, "inputs.0.shape: is [2, 3, 8, 8], not [n, 8, 8, 3]"),
        ({"shape": "2,8,8,3"}, "inputs.0.shape: is '2,8,8,3', not [n, 8, 8, 3]"),
    ],
)
def test_tensor_that_does_not_fit_is_told_with_what_came(site, changes: dict[str, Any], told: str) -> None:
    assert site.post(INFER, json={"inputs": [tensor(**changes)]}).json()["error"].startswith(told)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["", "0", "1", "10", "-1", "9" * 20]))
def test_f38_arbitrary_binary_tensors_are_read_or_refused_and_nothing_else(body: bytes, length: str) -> None:
    reader = BodyReader(limits=ImageLimits(), most_instances=4)
    try:
        assert read_inference(body, length, shape=(8, 8, 3), reader=reader).images.shape[1:] == (8, 8, 3)
    except TandemError as error:
        assert error.where


def test_time_that_the_client_allows_is_kept(models, make_serving, bench) -> None:
    models.export(A, 3)
    serving = make_serving(start_batcher=False)
    app = create_app(
        replace(bench.parts, predictor=serving.predictor), registry=bench.registry, routers=serving.routers()
    )
    answer = bench.client_of(app).post(INFER, json={"inputs": [tensor()], "parameters": {"timeout": 50_000}})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")


def test_what_is_not_there_or_not_ready_is_said_in_the_protocols_shape(models, make_serving, bench, site) -> None:
    for path in ("/v2/models/nobody", "/v2/models/nobody/ready", f"/v2/models/{A}/versions/4", "/v2/nothing"):
        assert site.get(path).status_code == 404
        assert isinstance(site.get(path).json()["error"], str)


def test_model_is_ready_as_long_as_one_of_its_exports_answers(models, make_serving, bench) -> None:
    models.export(A, 1, precision=0.9, data=b"spoilt")
    serving = make_serving()
    app = create_app(
        replace(bench.parts, predictor=serving.predictor), registry=bench.registry, routers=serving.routers()
    )
    ready = f"/v2/models/{A}"
    client = bench.client_of(app)
    for path in (f"{ready}/ready", f"{ready}/versions/1/ready"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    models.export(A, 2, precision=0.1)
    serving.predictor.refresh()
    assert client.get(f"{ready}/ready").status_code == 200
    assert client.get(f"{ready}/versions/1/ready").status_code == 503


def test_server_without_a_judged_model_is_live_and_not_ready(make_serving, bench) -> None:
    serving = make_serving()
    app = create_app(
        replace(bench.parts, predictor=serving.predictor), registry=bench.registry, routers=serving.routers()
    )
    client = bench.client_of(app)
    assert client.get("/v2/health/live").status_code == 200
    answer = client.get("/v2/health/ready")
    assert (answer.status_code, answer.json()) == (400, {"error": "no checkpoint has been judged yet"})
