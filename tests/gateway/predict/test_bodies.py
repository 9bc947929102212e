"""What may be in the body of a request, and what is refused, by its field."""

import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.predict.bodies import BLACK, JSON, RAW, ask, b64, instances, png


@pytest.mark.parametrize(
    ("body", "content_type", "query"),
    [
        (png(), "image/png", ""),
        (png(), "image/anything; x=y", ""),
        (png(), "IMAGE/PNG", ""),
        (png(), "", ""),
        (png(), "application/x-www-form-urlencoded", ""),
        (png(np.zeros((300, 400, 3), np.uint8)), "image/png", ""),
        (instances(BLACK.tolist()), JSON, ""),
        (instances(b64(png())), JSON + "; charset=utf-8", ""),
        (BLACK.tobytes(), RAW, ""),
        (BLACK.tobytes(), RAW, "shape=8,8,3"),
        (BLACK.tobytes(), RAW, "shape=1,8,8,3"),
    ],
)
def test_one_picture_is_taken_in_every_form(serving, body: bytes, content_type: str, query: str) -> None:
    reply, answer = ask(serving, body, content_type=content_type, query=query)
    assert reply.status == 200
    assert [prediction["classes"][0]["label"] for prediction in answer["predictions"]] == ["class-0"]


BAD = {
    "not json": (b"{", JSON, "", 422, "bad_instances", "body"),
    "a list": (b"[]", JSON, "", 422, "bad_instances", "instances"),
    "no instances": (b"{}", JSON, "", 422, "bad_instances", "instances"),
    "empty instances": (b'{"instances": []}', JSON, "", 422, "bad_instances", "instances"),
    "unknown key": (b'{"instances": [1], "instance": 1}', JSON, "", 422, "bad_instances", "instance"),
    "too many": (instances(*[0] * 17), JSON, "", 422, "bad_instances", "instances"),
    "a number": (instances(5), JSON, "", 422, "bad_instances", "instances.0"),
    "null": (instances(None), JSON, "", 422, "bad_instances", "instances.0"),
    "short row": (instances(BLACK.tolist(), BLACK[:, :7].tolist()), JSON, "", 422, "bad_instances", "instances.1.0"),
    "short": (instances(BLACK[:7].tolist()), JSON, "", 422, "bad_instances", "instances.0"),
    "no base64": (instances({"b64": "???"}), JSON, "", 422, "bad_instances", "instances.0.b64"),
    "other mapping": (instances({"png": "x"}), JSON, "", 422, "bad_instances", "instances.0"),
    "b64 of no picture": (instances(b64(png()), b64(b"x")), JSON, "", 415, "image_format", "instances.1.b64"),
    "deep": (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON, "", 422, "bad_instances", "body"),
    "no picture": (b"hello", "image/png", "", 415, "image_format", "body"),
    "truncated picture": (png()[:-5], "image/png", "", 422, "image_truncated", "body"),
    "empty": (b"", "image/png", "", 415, "image_format", "body"),
    "raw too short": (BLACK.tobytes()[:-1], RAW, "", 422, "bad_instances", "body"),
    "raw of nothing": (b"", RAW, "", 422, "bad_instances", "body"),
    "raw of too many": (BLACK.tobytes() * 17, RAW, "", 422, "bad_instances", "body"),
    "shape of others": (BLACK.tobytes(), RAW, "shape=3,8,8", 422, "bad_instances", "shape"),
    "shape of more": (BLACK.tobytes(), RAW, "shape=2,8,8,3", 422, "bad_instances", "shape"),
    "shape of words": (BLACK.tobytes(), RAW, "shape=a", 422, "bad_instances", "shape"),
    "text": (b"hello", "text/plain", "", 415, "bad_media_type", "content-type"),
    "form": (b"a=b", "application/x-www-form-urlencoded", "", 415, "bad_media_type", "content-type"),
    "unknown parameter": (png(), "image/png", "tpo=3", 422, "bad_input", "query"),
    "very many parameters": (png(), "image/png", "&".join(["x=1"] * 40), 422, "bad_input", "query"),
    "parameter twice": (png(), "image/png", "top=1&top=2", 422, "bad_input", "top"),
    "very long query": (png(), "image/png", "top=5&shape=" + "8" * 2000, 422, "bad_input", "query"),
    "top of nothing": (png(), "image/png", "top=", 422, "bad_instances", "top"),
    "top below zero": (png(), "image/png", "top=-1", 422, "bad_instances", "top"),
    "top of zero": (png(), "image/png", "top=0", 422, "bad_instances", "top"),
    "top of words": (png(), "image/png", "top=five", 422, "bad_instances", "top"),
    "top of other digits": (png(), "image/png", "top=%D9%A3", 422, "bad_instances", "top"),
    "top of very much": (png(), "image/png", "top=" + "9" * 100, 422, "bad_instances", "top"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_request_is_refused_by_its_field(serving, name: str) -> None:
    body, content_type, query, status, code, where = BAD[name]
    reply, answer = ask(serving, body, content_type=content_type, query=query)
    assert (reply.status, answer["error"]["code"], answer["error"]["where"]) == (status, code, where)
    assert set(answer["error"]) == {"code", "message", "where", "hint"}


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-1", "256", "1e3", "0.5", '"7"', "true", "null", "1" + "0" * 40])
def test_f38_value_that_is_no_byte_is_named_by_its_path(serving, bad: str) -> None:
    body = instances(BLACK.tolist(), BLACK.tolist()).decode()
    at = body.rindex("0")
    reply, answer = ask(serving, (body[:at] + bad + body[at + 1 :]).encode(), content_type=JSON)
    assert (reply.status, answer["error"]["where"]) == (422, "instances.1.7.7.2")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["b64", "x"]), inner, max_size=2),
    max_leaves=12,
)


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(json_values)
def test_f38_arbitrary_json_is_refused_and_never_breaks_the_service(serving, value: Any) -> None:
    reply, answer = ask(serving, json.dumps({"instances": value}).encode(), content_type=JSON)
    assert 400 <= reply.status < 500
    assert answer["error"]["code"]


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=500), st.sampled_from(["image/png", JSON, RAW, "", "text/plain"]), st.text(max_size=20))
def test_f38_arbitrary_bytes_and_queries_never_break_the_service(
    serving, body: bytes, content_type: str, query: str
) -> None:
    reply, _ = ask(serving, body, content_type=content_type, query=query)
    assert reply.status == 200 or 400 <= reply.status < 500


def test_pictures_of_one_body_share_the_limit_of_pixels(serving) -> None:
    picture = b64(png(np.zeros((3000, 3000, 3), np.uint8)))
    reply, answer = ask(serving, instances(picture, picture), content_type=JSON)
    assert (reply.status, answer["error"]["where"]) == (413, "instances.1.b64")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP"])
def test_body_is_taken_in_gzip_and_deflate(serving, encoding: str) -> None:
    packed = zlib.compress(png()) if encoding == "deflate" else gzip.compress(png())
    reply, _ = ask(serving, packed, headers=[(b"content-encoding", encoding.encode())])
    assert reply.status == 200


@pytest.mark.parametrize(
    ("body", "encoding", "status", "where"),
    [
        (png(), b"br", 415, "content-encoding"),
        (png(), b"gzip", 422, "body"),
        (gzip.compress(png())[:-4], b"gzip", 422, "body"),
        (gzip.compress(png()) + b"more", b"gzip", 422, "body"),
        (gzip.compress(bytes(50_000_000)), b"gzip", 413, "body"),
    ],
    ids=["unknown", "not packed", "cut off", "more behind", "bomb"],  # what is packed holds the time
)
def test_body_that_does_not_unfold_within_the_limit_is_refused(
    serving, body: bytes, encoding: bytes, status: int, where: str
) -> None:
    reply, answer = ask(serving, body, headers=[(b"content-encoding", encoding)])
    assert (reply.status, answer["error"]["where"]) == (status, where)
