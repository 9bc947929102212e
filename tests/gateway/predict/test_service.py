"""Requests that take too long, are too much, or that nobody waits for any more."""

import asyncio
from typing import Any

import numpy as np

from services.gateway.predict.models import LoadedModel
from services.gateway.predict.requests import RequestLimits
from services.gateway.predict.service import CLIENT_GONE
from tests.gateway.predict.asking import A, B
from tests.gateway.predict.bodies import BLACK, RAW, ask, png


def test_client_says_how_long_it_waits(models, make_serving) -> None:
    models.export(A, 1)
    serving = make_serving(start_batcher=False)
    reply, answer = ask(serving, png(), headers=[(b"x-tandem-timeout", b"0.05")])
    assert (reply.status, answer["error"]["code"]) == (504, "deadline_exceeded")
    for bad in (b"0", b"-1", b"nan", b"inf", b"soon"):
        reply, answer = ask(serving, png(), headers=[(b"x-tandem-timeout", bad)])
        assert (reply.status, answer["error"]["where"]) == (422, "x-tandem-timeout")


class Stream:
    """A body that comes in pieces, for as long as it is read."""

    def __init__(self, pieces: int, size: int) -> None:
        self.left, self._size = pieces, size

    async def __call__(self) -> dict[str, Any]:
        self.left -= 1
        return {"type": "http.request", "body": bytes(self._size), "more_body": self.left > 0}


def test_f36_endless_body_is_refused_as_it_streams(models, make_serving) -> None:
    models.export(A, 1)
    stream = Stream(1_000_000, 1000)
    reply, answer = ask(make_serving(limits=RequestLimits(body_bytes=10_000)), b"", receive=stream)
    assert (reply.status, answer["error"]["code"]) == (413, "too_large")
    assert stream.left == 1_000_000 - 11
    assert dict(reply.headers)[b"connection"] == b"close"


def test_f36_body_that_says_that_it_is_too_long_is_not_read(models, make_serving) -> None:
    models.export(A, 1)
    stream = Stream(10, 10)
    headers = [(b"content-length", b"1" + b"0" * 30)]
    reply, _ = ask(make_serving(), b"", receive=stream, headers=headers)
    assert (reply.status, stream.left) == (413, 10)


def test_f36_body_that_does_not_come_in_time_is_given_up(models, make_serving) -> None:
    models.export(A, 1)

    async def silence() -> Any:
        await asyncio.Event().wait()

    reply, answer = ask(make_serving(limits=RequestLimits(body_seconds=0.02)), b"", receive=silence)
    assert (reply.status, answer["error"]["code"]) == (408, "body_timeout")


def test_bodies_of_all_requests_together_are_bounded_and_given_back(models, make_serving) -> None:
    models.export(A, 1)
    serving = make_serving(limits=RequestLimits(held_bytes=1000))
    reply, answer = ask(serving, BLACK.tobytes() * 6, content_type=RAW)
    assert (reply.status, answer["error"]["code"]) == (429, "overloaded")
    for _ in range(10):
        assert ask(serving, BLACK.tobytes() * 5, content_type=RAW)[0].status == 200


def test_f39_full_queue_answers_429_with_the_time_to_come_back(models, make_serving) -> None:
    models.export(A, 1)
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
    models.export(A, 1)
    serving = make_serving(start_batcher=False, limits=RequestLimits(answer_seconds=0.05))
    reply, answer = ask(serving, png())
    assert (reply.status, answer["error"]["code"]) == (504, "deadline_exceeded")


def test_model_that_is_not_loaded_in_time_is_answered_504(models, make_serving) -> None:
    models.export(A, 1)
    models.export(B, 1)
    reply, _ = ask(make_serving(limits=RequestLimits(answer_seconds=0.05)), png(), model=A)
    assert reply.status == 504


def test_f40_client_that_goes_away_costs_no_inference(models, make_serving) -> None:
    models.export(A, 1)
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
