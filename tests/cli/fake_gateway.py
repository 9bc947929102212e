"""A gateway that answers from memory, in the shapes of the REST API, for tests of what speaks to it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import httpx

from services.cli.client import Client


def run_view(**changes: Any) -> dict[str, Any]:
    """A run as the gateway shows it, running half-way, with `changes`."""
    run = {
        "id": "20260102-030405-shapes-0a1b",
        "name": "shapes",
        "labels": {},
        "state": "running",
        "reason": "",
        "created": 1767323045.0,
        "spec": {"name": "shapes", "steps": 300},
        "slot": "local",
        "step": 150,
        "steps": 300,
        "progress": 0.5,
        "loss": 1.5,
        "average_loss": 1.75,
        "learning_rate": 0.1,
        "examples_per_second": 812.4,
        "eta_seconds": 75.0,
        "checkpoint_step": 100,
        "best": None,
        "latest": None,
        "failure": None,
        "a-key-of-a-later-release": 1,
    }
    return run | changes


def verdict(step: int, weights: str, precision: float | None, **changes: Any) -> dict[str, Any]:
    """The figures of a verdict as the gateway lists them."""
    values = {
        "run": "20260102-030405-shapes-0a1b",
        "step": step,
        "weights": weights,
        "decay": 0.9999 if weights == "ema" else None,
        "status": "judged",
        "examples": 2000,
        "precision_at_1": precision,
        "interval": None,
        "time": 1767323045.0,
    }
    return values | changes


def in_turn(states: Sequence[Any], shown: Callable[[Any], Any]) -> Callable[[], Any]:
    """What shows the next state each time it is called, and the last one for ever."""
    views = map(shown, chain(states, repeat(states[-1])))
    return lambda: next(views)


@dataclass
class FakeGateway:
    """Answers by (method, path): a value, an error to raise, or what a function makes of each request.

    What is not there is 404 in the JSON shape of errors. Keeps what it was sent.
    """

    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)

    def client(self) -> Client:
        """A client whose gateway this is."""
        transport = httpx.MockTransport(self._answer)
        return Client(http=httpx.Client(base_url="http://gateway.test", transport=transport))

    def sent(self) -> Any:
        """The JSON body of the newest request."""
        return json.loads(self.requests[-1].content)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.get((request.method, request.url.path))
        if answer is None:
            error = {"code": "not_found", "message": "there is no such thing", "where": request.url.path, "hint": None}
            return httpx.Response(404, json={"error": error})
        if callable(answer):
            answer = answer()
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


def error_response(status: int, code: str, message: str, **more: Any) -> httpx.Response:
    """An error as the gateway answers it."""
    return httpx.Response(
        status, json={"error": {"code": code, "message": message, "where": None, "hint": None} | more}
    )
