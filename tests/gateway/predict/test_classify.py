import asyncio
import json
import threading
import time
from typing import Any

import numpy as np
import pytest

from services.gateway.predict.batching import softmax
from services.gateway.predict.models import LoadedModel
from tests.gateway.predict.asking import A
from tests.gateway.predict.bodies import BLACK, JSON, RAW, ask, b64, instances, png


@pytest.fixture
def serving(models, make_serving):
    models.export(A, 7, precision=0.625)
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
        "run": A,
        "step": 7,
        "weights": "ema",
        "decay": 0.9999,
        "precision_at_1": 0.625,
    }
    assert [entry["label"] for entry in classes] == ["class-7", "class-0", "class-1"]
    np.testing.assert_allclose([entry["probability"] for entry in classes], expected[[7, 0, 1]], rtol=1e-6)
    headers = dict(reply.headers)
    assert headers.items() >= {
        (b"x-tandem-run", A.encode()),
        (b"x-tandem-step", b"7"),
        (b"x-tandem-weights", b"ema"),
        (b"x-tandem-precision", b"0.625"),
    }


def test_several_instances_are_answered_in_order(models, make_serving, make_model) -> None:
    bias = np.zeros(10, np.float32)
    kernel_scale = 0.001
    models.export(A, 1, data=make_model(bias=bias, scale=kernel_scale))
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    serving = make_serving()
    body = instances(pixels[0].tolist(), b64(png(pixels[1])), pixels[2].tolist())
    assert len(ask(serving, body, content_type=JSON)[1]["predictions"]) == 3
    reply, answer = ask(serving, pixels.tobytes(), content_type=RAW, query="shape=3,8,8,3&top=10")
    assert reply.status == 200
    assert [len(prediction["classes"]) for prediction in answer["predictions"]] == [10, 10, 10]


@pytest.mark.parametrize("content_type", ["", "application/x-www-form-urlencoded", "application/json; charset=utf-8"])
def test_body_of_curl_is_json_if_it_begins_so(serving, content_type: str) -> None:
    body = b" \n" + instances(BLACK.tolist())
    assert ask(serving, body, content_type=content_type)[0].status == 200


def test_picture_said_to_be_raw_is_told_how_to_be_sent(serving) -> None:
    reply, answer = ask(serving, png(), content_type=RAW)
    assert reply.status == 422
    assert "image/png" in answer["error"]["hint"]


def test_top_beyond_the_classes_answers_them_all(serving) -> None:
    assert len(ask(serving, png(), query="top=1000")[1]["predictions"][0]["classes"]) == 10


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


def test_nan_never_leaves(models, make_serving) -> None:
    models.export(A, 1)

    def load(export: Any) -> LoadedModel:
        return LoadedModel(
            manifest=export.manifest, infer=lambda images: np.full((len(images), 10), np.nan, np.float32)
        )

    reply, answer = ask(make_serving(load=load), png())
    assert (reply.status, answer["error"]["code"]) == (500, "not_finite")
    assert b"NaN" not in reply.body


def test_f34_a_hundred_swaps_under_load_fail_no_request_and_mix_no_answer(models, make_serving) -> None:
    models.export(A, 1, precision=0.001)
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
                models.export(A, step, precision=step / 1000)
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
