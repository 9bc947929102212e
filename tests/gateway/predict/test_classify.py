import asyncio
import base64
import gzip
import io
import json
import threading
import time
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from services.gateway.predict.batching import softmax
from services.gateway.predict.models import LoadedModel
from services.gateway.predict.requests import RequestLimits
from services.gateway.predict.service import CLIENT_GONE

RUN = "20260101-000000-a-0001"
JSON = "application/json"
RAW = "application/octet-stream"
BLACK = np.zeros((8, 8, 3), np.uint8)


def png(pixels: np.ndarray = BLACK) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def instances(*values: Any) -> bytes:
    return json.dumps({"instances": list(values)}).encode()


def ask(serving, body: bytes, **options: Any) -> tuple[Any, Any]:
    """The reply and its parsed body."""
    reply = asyncio.run(asyncio.wait_for(serving.ask(body, **options), 20))
    return reply, json.loads(reply.body)


@pytest.fixture
def serving(models, make_serving):
    models.export(RUN, 7, precision=0.625)
    return make_serving()


def test_answer_says_what_was_recognised_and_which_weights_did(serving) -> None:
    reply, answer = ask(serving, png(), query="top=3")
    logits = np.zeros(10)
    logits[7] = 3.07
    expected = np.exp(logits) / np.exp(logits).sum()
    classes = answer.pop("predictions")[0]["classes"]
    assert reply.status == 200
    assert answer == {
        "model": "best",
        "run": RUN,
        "step": 7,
        "weights": "ema",
        "decay": 0.9999,
        "precision_at_1": 0.625,
    }
    assert [entry["label"] for entry in classes] == ["class-7", "class-0", "class-1"]
    np.testing.assert_allclose([entry["probability"] for entry in classes], expected[[7, 0, 1]], rtol=1e-6)
    headers = dict(reply.headers)
    assert headers.items() >= {
        (b"x-tandem-run", RUN.encode()),
        (b"x-tandem-step", b"7"),
        (b"x-tandem-weights", b"ema"),
        (b"x-tandem-precision", b"0.625"),
    }


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
    assert [prediction["classes"][0]["label"] for prediction in answer["predictions"]] == ["class-7"]


def test_several_instances_are_answered_in_order(models, make_serving, make_model) -> None:
    bias = np.zeros(10, np.float32)
    kernel_scale = 0.001
    models.export(RUN, 1, data=make_model(bias=bias, scale=kernel_scale))
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    serving = make_serving()
    body = instances(pixels[0].tolist(), b64(png(pixels[1])), pixels[2].tolist())
    assert len(ask(serving, body, content_type=JSON)[1]["predictions"]) == 3
    reply, answer = ask(serving, pixels.tobytes(), content_type=RAW, query="shape=3,8,8,3&top=10")
    assert reply.status == 200
    assert [len(prediction["classes"]) for prediction in answer["predictions"]] == [10, 10, 10]


def test_top_beyond_the_classes_answers_them_all(serving) -> None:
    assert len(ask(serving, png(), query="top=1000")[1]["predictions"][0]["classes"]) == 10


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
)
def test_body_that_does_not_unfold_within_the_limit_is_refused(
    serving, body: bytes, encoding: bytes, status: int, where: str
) -> None:
    reply, answer = ask(serving, body, headers=[(b"content-encoding", encoding)])
    assert (reply.status, answer["error"]["where"]) == (status, where)


def test_client_says_how_long_it_waits(models, make_serving) -> None:
    models.export(RUN, 1)
    serving = make_serving(start_batcher=False)
    reply, answer = ask(serving, png(), headers=[(b"x-tandem-timeout", b"0.05")])
    assert (reply.status, answer["error"]["code"]) == (504, "deadline_exceeded")
    for bad in (b"0", b"-1", b"nan", b"inf", b"soon"):
        reply, answer = ask(serving, png(), headers=[(b"x-tandem-timeout", bad)])
        assert (reply.status, answer["error"]["where"]) == (422, "x-tandem-timeout")


def test_f35_without_a_judged_checkpoint_the_answer_is_try_later(make_serving) -> None:
    serving = make_serving()
    reply, answer = ask(serving, png())
    assert (reply.status, answer["error"]["code"]) == (503, "unavailable")
    assert dict(reply.headers)[b"retry-after"].isdigit()
    assert serving.predictor.why_not_ready() is not None


@pytest.mark.parametrize("name", ["nobody", "é", "x" * 5000, 'a"b\n'])
def test_unknown_model_is_not_found_and_counted_without_its_name(serving, name: str) -> None:
    reply, _ = ask(serving, png(), model=name)
    assert reply.status == 404
    labels = {"model": "unknown", "version": "", "weights": "", "code": "404"}
    assert serving.metric("tandem_predict_requests_total", **labels) == 1


def test_requests_are_counted_by_model_version_and_weights(serving) -> None:
    ask(serving, png())
    labels = {"model": "best", "version": "7", "weights": "ema", "code": "200"}
    assert serving.metric("tandem_predict_requests_total", **labels) == 1
    del labels["code"]
    assert serving.metric("tandem_predict_seconds_count", **labels) == 1


class Stream:
    """A body that comes in pieces, for as long as it is read."""

    def __init__(self, pieces: int, size: int) -> None:
        self.left, self._size = pieces, size

    async def __call__(self) -> dict[str, Any]:
        self.left -= 1
        return {"type": "http.request", "body": bytes(self._size), "more_body": self.left > 0}


def test_f36_endless_body_is_refused_as_it_streams(models, make_serving) -> None:
    models.export(RUN, 1)
    stream = Stream(1_000_000, 1000)
    reply, answer = ask(make_serving(limits=RequestLimits(body_bytes=10_000)), b"", receive=stream)
    assert (reply.status, answer["error"]["code"]) == (413, "too_large")
    assert stream.left == 1_000_000 - 11
    assert dict(reply.headers)[b"connection"] == b"close"


def test_f36_body_that_says_that_it_is_too_long_is_not_read(models, make_serving) -> None:
    models.export(RUN, 1)
    stream = Stream(10, 10)
    headers = [(b"content-length", b"1" + b"0" * 30)]
    reply, _ = ask(make_serving(), b"", receive=stream, headers=headers)
    assert (reply.status, stream.left) == (413, 10)


def test_f36_body_that_does_not_come_in_time_is_given_up(models, make_serving) -> None:
    models.export(RUN, 1)

    async def silence() -> Any:
        await asyncio.Event().wait()

    reply, answer = ask(make_serving(limits=RequestLimits(body_seconds=0.02)), b"", receive=silence)
    assert (reply.status, answer["error"]["code"]) == (408, "body_timeout")


def test_bodies_of_all_requests_together_are_bounded_and_given_back(models, make_serving) -> None:
    models.export(RUN, 1)
    serving = make_serving(limits=RequestLimits(held_bytes=1000))
    reply, answer = ask(serving, BLACK.tobytes() * 6, content_type=RAW)
    assert (reply.status, answer["error"]["code"]) == (429, "overloaded")
    for _ in range(10):
        assert ask(serving, BLACK.tobytes() * 5, content_type=RAW)[0].status == 200


def test_f39_full_queue_answers_429_with_the_time_to_come_back(models, make_serving) -> None:
    models.export(RUN, 1)
    serving = make_serving(max_waiting=2, start_batcher=False)

    async def story() -> None:
        waiting = [asyncio.ensure_future(serving.ask(png())) for _ in range(2)]
        await asyncio.sleep(0.01)
        reply = await serving.ask(png())
        assert reply.status == 429
        assert dict(reply.headers)[b"retry-after"].isdigit()
        serving.batcher.start()
        assert [reply.status for reply in await asyncio.gather(*waiting)] == [200, 200]

    asyncio.run(asyncio.wait_for(story(), 10))


def test_request_that_nobody_serves_in_time_is_answered_504(models, make_serving) -> None:
    models.export(RUN, 1)
    serving = make_serving(start_batcher=False, limits=RequestLimits(answer_seconds=0.05))
    reply, answer = ask(serving, png())
    assert (reply.status, answer["error"]["code"]) == (504, "deadline_exceeded")


def test_model_that_is_not_loaded_in_time_is_answered_504(models, make_serving) -> None:
    models.export(RUN, 1)
    models.export("20260102-000000-b-0002", 1)
    reply, _ = ask(make_serving(limits=RequestLimits(answer_seconds=0.05)), png(), model=RUN)
    assert reply.status == 504


def test_f40_client_that_goes_away_costs_no_inference(models, make_serving) -> None:
    models.export(RUN, 1)
    batches = []

    def load(export: Any) -> LoadedModel:
        def infer(images: np.ndarray) -> np.ndarray:
            batches.append(len(images))
            return np.zeros((len(images), 10), np.float32)

        return LoadedModel(manifest=export.manifest, infer=infer)

    serving = make_serving(start_batcher=False, load=load)
    messages = [{"type": "http.request", "body": png(), "more_body": False}, {"type": "http.disconnect"}]

    async def leaves() -> Any:
        return messages.pop(0)

    async def story() -> None:
        tasks = len(asyncio.all_tasks())
        reply = await serving.ask(b"", receive=leaves)
        assert reply.status == CLIENT_GONE
        assert len(asyncio.all_tasks()) == tasks
        serving.batcher.start()
        assert (await serving.ask(png())).status == 200

    asyncio.run(asyncio.wait_for(story(), 10))
    assert batches == [1]


def test_f40_client_that_goes_away_while_it_sends_is_counted_and_forgotten(serving) -> None:
    messages = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]

    async def leaves() -> Any:
        return messages.pop(0)

    assert asyncio.run(serving.ask(b"", receive=leaves)).status == CLIENT_GONE


def test_nan_never_leaves(models, make_serving) -> None:
    models.export(RUN, 1)

    def load(export: Any) -> LoadedModel:
        return LoadedModel(
            manifest=export.manifest, infer=lambda images: np.full((len(images), 10), np.nan, np.float32)
        )

    reply, answer = ask(make_serving(load=load), png())
    assert (reply.status, answer["error"]["code"]) == (500, "not_finite")
    assert b"NaN" not in reply.body


def test_f34_a_hundred_swaps_under_load_fail_no_request_and_mix_no_answer(models, make_serving) -> None:
    models.export(RUN, 1, precision=0.001)
    serving = make_serving()
    done = threading.Event()
    answered: list[tuple[int, int]] = []

    def expected(step: int) -> float:
        logits = np.zeros((1, 10), np.float32)
        logits[0, step % 10] = 3.0 + step / 100
        return float(softmax(logits)[0, step % 10])

    async def client(body: bytes, content_type: str) -> None:
        while not done.is_set():
            reply = await serving.ask(body, content_type=content_type)
            answer = json.loads(reply.body)
            assert reply.status == 200, answer
            step = answer["step"]
            assert dict(reply.headers)[b"x-tandem-step"] == str(step).encode()
            for prediction in answer["predictions"]:
                assert prediction["classes"][0]["label"] == f"class-{step % 10}"
                assert prediction["classes"][0]["probability"] == pytest.approx(expected(step), rel=1e-5)
            answered.append((step, len(answer["predictions"])))

    def swap() -> None:
        try:
            for step in range(2, 102):
                models.export(RUN, step, precision=step / 1000)
                serving.predictor.refresh()
                before = len(answered)
                patience = time.monotonic() + 5
                while len(answered) == before and time.monotonic() < patience:
                    done.wait(0.0005)
        finally:
            done.set()

    async def story() -> None:
        swapping = asyncio.ensure_future(asyncio.to_thread(swap))
        large = BLACK.tobytes() * 5
        clients = [client(png(), "image/png"), client(large, RAW), client(instances(BLACK.tolist()), JSON)] * 1
        clients += [client(png(), "image/png") for _ in range(5)]
        await asyncio.gather(swapping, *clients)

    asyncio.run(asyncio.wait_for(story(), 120))
    assert serving.metric("tandem_predict_swaps_total") == 101
    assert len({step for step, _ in answered}) >= 95
    assert serving.metric("tandem_predict_loaded_models") == 1
