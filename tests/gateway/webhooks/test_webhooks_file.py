"""The file of webhooks is followed while the gateway runs: added, changed, taken away, damaged and mended."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.gateway.streams.feed import Change, Feed
from services.gateway.webhooks.configuration import WebhooksFile
from services.gateway.webhooks.metrics import WebhookMetrics
from services.gateway.webhooks.positions import Positions
from services.gateway.webhooks.post import post
from services.gateway.webhooks.webhooks import Webhooks
from tests.gateway.webhooks.receiver import SECRET, Receiver

RUN = "20260101-120000-shapes-ab12"


@pytest.fixture
def receivers() -> Iterator[list[Receiver]]:
    made = [Receiver(), Receiver()]
    yield made
    for each in made:
        each.close()


class Gateway:
    """What a gateway has of webhooks."""

    def __init__(self, folder: Path) -> None:
        (folder / "secret").write_text(SECRET)
        self.path = folder / "webhooks.yaml"
        self.write()
        self.registry = CollectorRegistry()
        self.positions = Positions(folder=folder / "positions")
        self.feed = Feed(folder=folder / "feed", needed=self.positions.least)
        file = WebhooksFile(self.path)
        self.webhooks = Webhooks(
            file=file,
            feed=self.feed,
            positions=self.positions,
            post=post,
            metrics=WebhookMetrics(self.registry),
            time=lambda: 100.0,
        )
        self.webhooks.start(file.read())

    def write(self, **urls: str) -> None:
        hooks = [f"{{name: {name}, url: '{url}', secret_file: secret}}" for name, url in urls.items()]
        self.path.write_text(f"webhooks: [{', '.join(hooks)}]\n")

    def look(self, times: int = 2) -> None:
        for _ in range(times):
            self.webhooks.wake()

    def tell(self, at: int) -> None:
        self.feed.append([Change(time=99.0, run=RUN, kind="state", at=at, data={"to": "completed", "number": at})])
        self.webhooks.wake()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    made.webhooks.stop(10)


def told(receiver: Receiver) -> list[Any]:
    return [body["data"]["number"] for body in receiver.bodies]


def test_a_webhook_that_is_added_is_sent_what_happens_from_then_on(gateway: Gateway, receivers: list[Receiver]) -> None:
    gateway.tell(1)
    gateway.write(team=receivers[0].url)
    gateway.look()
    gateway.tell(2)
    receivers[0].until(lambda: told(receivers[0]) == [2])
    gateway.write(team=receivers[0].url, other=receivers[1].url)
    gateway.look()
    gateway.tell(3)
    receivers[1].until(lambda: told(receivers[1]) == [3])
    receivers[0].until(lambda: told(receivers[0]) == [2, 3])


def test_one_that_is_taken_away_is_sent_nothing_and_holds_nothing_up(
    gateway: Gateway, receivers: list[Receiver]
) -> None:
    gateway.write(team=receivers[0].url, other=receivers[1].url)
    gateway.look()
    gateway.tell(1)
    receivers[0].until(lambda: told(receivers[0]) == [1])
    receivers[1].until(lambda: gateway.value("tandem_webhook_late_seconds", webhook="other") is not None)
    gateway.write(team=receivers[0].url)
    gateway.look()
    gateway.tell(2)
    receivers[0].until(lambda: told(receivers[0]) == [1, 2])
    receivers[0].until(lambda: gateway.positions.least() == gateway.feed.end())
    assert told(receivers[1]) == [1]
    assert gateway.value("tandem_webhook_late_seconds", webhook="other") is None


def test_one_that_comes_back_goes_on_where_it_was(gateway: Gateway, receivers: list[Receiver]) -> None:
    gateway.write(team=receivers[0].url)
    gateway.look()
    gateway.tell(1)
    receivers[0].until(lambda: told(receivers[0]) == [1])
    receivers[0].until(lambda: gateway.positions.least() == gateway.feed.end())
    gateway.write()
    gateway.look()
    gateway.tell(2)
    gateway.write(team=receivers[0].url)
    gateway.look()
    receivers[0].until(lambda: told(receivers[0]) == [1, 2])


def test_what_the_old_address_did_not_take_is_sent_to_the_new_one_at_once(
    gateway: Gateway, receivers: list[Receiver]
) -> None:
    receivers[0].answers = [500] * 1000
    gateway.write(team=receivers[0].url)
    gateway.look()
    gateway.tell(1)
    receivers[0].until(lambda: len(receivers[0].requests) == 1)  # and is tried again after a second
    gateway.write(team=receivers[1].url)
    gateway.look()
    gateway.tell(2)
    receivers[1].until(lambda: told(receivers[1]) == [1, 2])
    assert receivers[1].bodies[0]["id"] == receivers[0].bodies[0]["id"]


@pytest.mark.parametrize("text", ["webhooks: [", "webhooks: [{name: team}]", None])
def test_a_file_that_cannot_be_used_changes_nothing_and_is_told_once(
    gateway: Gateway, receivers: list[Receiver], caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    gateway.write(team=receivers[0].url)
    gateway.look()
    good = gateway.path.read_text()
    if text is None:
        gateway.path.unlink()
    else:
        gateway.path.write_text(text)
    gateway.look(times=5)
    assert gateway.value("tandem_webhook_file_good") == 0
    gateway.tell(1)
    receivers[0].until(lambda: told(receivers[0]) == [1])
    assert [each.levelno for each in caplog.records if "stay as they were" in each.message] == [logging.ERROR]
    assert receivers[0].url not in caplog.text
    gateway.path.write_text(good)
    gateway.look()
    assert gateway.value("tandem_webhook_file_good") == 1
    gateway.tell(2)
    receivers[0].until(lambda: told(receivers[0]) == [1, 2])


def test_a_secret_that_was_missing_is_found_although_the_file_is_the_same(
    gateway: Gateway, receivers: list[Receiver], tmp_path: Path
) -> None:
    (tmp_path / "secret").unlink()
    gateway.write(team=receivers[0].url)
    gateway.look()
    assert gateway.value("tandem_webhook_file_good") == 0
    (tmp_path / "secret").write_text(SECRET)
    gateway.look(times=1)
    gateway.tell(1)
    receivers[0].until(lambda: told(receivers[0]) == [1])


def test_a_file_is_not_read_before_it_was_found_the_same_twice(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    path = tmp_path / "webhooks.yaml"
    path.write_text("webhooks: []\n")
    file = WebhooksFile(path)
    assert file.read() == []
    assert file.news() is None
    hook = "{name: team, url: 'https://example.org', secret_file: secret}"
    path.write_text(f"webhooks: [{hook}]\n")
    assert file.news() is None
    path.write_text(f"webhooks:\n  - {hook}\n")
    assert file.news() is None
    assert [hook.name for hook in file.news() or ()] == ["team"]
    assert file.news() is None
