"""Webhooks reach a real receiver: signed, at least once, in order, whatever it or the gateway does meanwhile."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.gateway.streams.feed import Change, Feed
from services.gateway.webhooks import sender as senders
from services.gateway.webhooks.configuration import Webhook
from services.gateway.webhooks.metrics import WebhookMetrics
from services.gateway.webhooks.positions import Positions
from services.gateway.webhooks.post import post
from services.gateway.webhooks.sender import Sender
from shared.lifecycle import StopEvent
from tests.gateway.webhooks.receiver import SECRET, Receiver, verified

RUN = "20260101-120000-shapes-ab12"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


class Gateway:
    """What a gateway has of webhooks; a second one over the same folder is its successor."""

    def __init__(self, folder: Path, url: str, *, segment_bytes: int = 4096, **hook: Any) -> None:
        folder.mkdir(exist_ok=True)
        secret = folder / "secret"
        secret.write_text(SECRET + "\n")
        self.now = 1_772_360_100.0
        self.registry = CollectorRegistry()
        self.positions = Positions(folder=folder / "webhooks")
        self.feed = Feed(folder=folder / "feed", needed=self.positions.least, segment_bytes=segment_bytes)
        self.stop = StopEvent()
        self.sender = Sender(
            hook=Webhook(name="team", url=url, secret_file=secret, **hook),
            feed=self.feed,
            positions=self.positions,
            post=post,
            metrics=WebhookMetrics(self.registry),
            time=lambda: self.now,
            stop=self.stop,
            first_pause=0.01,
        )
        self.positions.begin("team", self.feed)

    def tell(self, *changes: Change) -> None:
        self.feed.append(changes)

    def count(self, result: str) -> float:
        labels = {"webhook": "team", "result": result}
        return self.registry.get_sample_value("tandem_webhook_requests_total", labels) or 0.0


def state(to: str, *, at: int = 100, time: float = 1_772_360_099.0) -> Change:
    return Change(time=time, run=RUN, kind="state", at=at, data={"from": "running", "to": to, "reason": "so"})


def verdict(step: int, precision: float, before: float | None, weights: str = "ema") -> Change:
    data = {"step": step, "weights": weights, "kind": weights, "precision_at_1": precision, "previous_best": before}
    return Change(time=1_772_360_099.0, run=RUN, kind="evaluation", data=data)


def test_a_change_is_sent_with_its_run_and_what_is_told_of_it(receiver: Receiver, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, receiver.url)
    gateway.tell(state("completed"))
    gateway.sender.send_all()
    ((headers, _),) = receiver.requests
    (body,) = receiver.bodies
    assert (body["type"], body["run"], body["time"]) == ("run.state", RUN, 1_772_360_099.0)
    assert body["data"] == {"from": "running", "to": "completed", "reason": "so"}
    assert headers["webhook-id"] == body["id"]
    assert headers["content-type"] == "application/json"


def test_it_is_signed_over_id_time_and_body_and_nothing_of_them_can_be_changed(
    receiver: Receiver, tmp_path: Path
) -> None:
    gateway = Gateway(tmp_path, receiver.url)
    gateway.tell(state("completed"))
    gateway.sender.send_all()
    ((headers, body),) = receiver.requests
    assert headers["webhook-timestamp"] == "1772360100"
    assert verified(headers, body)
    assert not verified(headers, body + b" ")
    assert not verified(headers | {"webhook-timestamp": "1772360101"}, body)
    assert not verified(headers | {"webhook-id": "msg_0"}, body)
    assert not verified(headers, body, "whsec_" + "A" * 44)


def test_while_a_secret_is_changed_both_signatures_are_sent(receiver: Receiver, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, receiver.url)
    other = "whsec_" + "B" * 43 + "="
    (tmp_path / "secret").write_text(f"{other}\n{SECRET}\n")
    gateway.tell(state("completed"))
    gateway.sender.send_all()
    ((headers, body),) = receiver.requests
    assert verified(headers, body)
    assert verified(headers, body, other)


def test_what_is_not_taken_is_sent_again_with_the_same_id_until_it_is(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [500, 503, 404, 302]
    gateway = Gateway(tmp_path, receiver.url)
    gateway.tell(state("completed"), state("stopped", at=200))
    gateway.sender.send_all()
    assert [body["data"]["to"] for body in receiver.bodies] == ["completed"] * 5 + ["stopped"]
    assert len({body["id"] for body in receiver.bodies}) == 2
    assert (gateway.count("sent"), gateway.count("failed")) == (2, 4)


def test_the_next_gateway_sends_what_was_not_taken_and_nothing_else(receiver: Receiver, tmp_path: Path) -> None:
    first = Gateway(tmp_path, receiver.url)
    first.tell(state("running", at=1))
    first.sender.send_all()
    first.tell(state("completed", at=2))
    first.stop.set()
    first.sender.send_all()
    first.tell(state("failed", at=3))
    Gateway(tmp_path, receiver.url).sender.send_all()
    assert [body["data"]["to"] for body in receiver.bodies] == ["running", "completed", "failed"]


def test_an_event_that_is_told_twice_has_one_id(receiver: Receiver, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, receiver.url, events=("state", "best"))
    best = Change(time=1.0, run=RUN, kind="best", data={"step": 10, "weights": "ema", "precision_at_1": 0.5})
    gateway.tell(state("completed"), best, best.model_copy(update={"time": 2.0}), state("completed", time=3.0))
    gateway.sender.send_all()
    ids = [body["id"] for body in receiver.bodies]
    assert ids[0] == ids[3] != ids[1] == ids[2]


def test_a_new_webhook_is_sent_what_happens_from_then_on(receiver: Receiver, tmp_path: Path) -> None:
    Feed(folder=tmp_path / "feed").append([state("completed")])
    gateway = Gateway(tmp_path, receiver.url)
    gateway.sender.send_all()
    gateway.tell(state("failed"))
    gateway.sender.send_all()
    assert [body["data"]["to"] for body in receiver.bodies] == ["failed"]


def test_a_threshold_is_told_of_when_a_run_first_reaches_it(receiver: Receiver, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, receiver.url, events=("threshold",), thresholds={"ema": 0.8})
    gateway.tell(
        verdict(10, 0.7, None),
        verdict(20, 0.8, 0.7),
        verdict(30, 0.9, 0.8),
        verdict(40, 0.95, 0.9, "raw"),
        state("completed"),
    )
    gateway.sender.send_all()
    (body,) = receiver.bodies
    assert (body["type"], body["data"]["step"], body["data"]["threshold"]) == ("run.threshold", 20, 0.8)


def test_only_what_was_asked_for_is_sent(receiver: Receiver, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, receiver.url, events=("state", "removed"), states=("failed",))
    gateway.tell(state("running"), state("failed"), verdict(10, 0.7, None), Change(time=1.0, run=RUN, kind="removed"))
    gateway.sender.send_all()
    assert [body["type"] for body in receiver.bodies] == ["run.state", "run.removed"]


@pytest.mark.parametrize("kind", ["nobody listens", "it never answers"])
def test_a_receiver_that_is_gone_or_slow_delays_nobody_and_is_caught_up_with(
    receiver: Receiver, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = Gateway(tmp_path, receiver.url if kind == "it never answers" else "http://127.0.0.1:1/secret-path")
    receiver.wait.clear()
    monkeypatch.setattr("services.gateway.webhooks.post.SECONDS", 0.2)
    gateway.sender.start()
    begin = time.monotonic()
    for at in range(20):
        gateway.tell(state("running", at=at))
        gateway.sender.wake()
    assert time.monotonic() - begin < 2
    receiver.until(lambda: gateway.count("failed") > 1)
    gateway.stop.set()
    gateway.sender.wake()
    gateway.sender.join(10)
    receiver.wait.set()
    receiver.until(lambda: kind == "nobody listens" or len(receiver.requests) >= 1)
    before = len(receiver.requests)
    Gateway(tmp_path, receiver.url).sender.send_all()
    assert [body["id"] for body in receiver.bodies[before:]] == list(
        dict.fromkeys(body["id"] for body in receiver.bodies)
    )
    assert len(receiver.requests) - before == 20
    trouble = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(trouble) == 1  # said once, however often it is tried
    assert "secret-path" not in caplog.text
    assert SECRET not in caplog.text


def test_what_nobody_took_for_days_is_passed_over_and_said(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [500]
    gateway = Gateway(tmp_path, receiver.url)
    old = gateway.now - senders.LONGEST_AGE - 1
    gateway.tell(state("completed", time=old), state("failed", at=200))
    gateway.sender.send_all()
    assert [body["data"]["to"] for body in receiver.bodies] == ["completed", "failed"]
    assert gateway.count("dropped") == 1
    assert "passed over" in caplog.text


def test_the_feed_keeps_what_a_webhook_has_not_had(receiver: Receiver, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, receiver.url, segment_bytes=200)
    for at in range(15):
        gateway.tell(state("running", at=at))
    sizes = len(list((tmp_path / "feed").iterdir()))
    gateway.sender.send_all()
    for at in range(15, 19):
        gateway.tell(state("completed", at=at))
    assert sizes > len(list((tmp_path / "feed").iterdir())) > 1
    assert len(receiver.bodies) == 15


def test_a_position_that_cannot_be_read_means_sending_again_and_never_leaving_out(
    receiver: Receiver, tmp_path: Path
) -> None:
    first = Gateway(tmp_path, receiver.url)
    first.tell(state("completed"))
    first.sender.send_all()
    (tmp_path / "webhooks" / "team.json").write_text("{")
    Gateway(tmp_path, receiver.url).sender.send_all()
    assert [body["data"]["to"] for body in receiver.bodies] == ["completed"] * 2


def test_runs_that_the_gateway_steers_are_told_of(bench: Any, receiver: Receiver, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "hooks", receiver.url)
    run = bench.start()
    bench.step()
    bench.follower.look()
    gateway.tell(*[change for _, change in bench.feed.changes()])
    gateway.sender.send_all()
    assert [(body["run"], body["data"]["to"]) for body in receiver.bodies] == [(run, "starting")]
