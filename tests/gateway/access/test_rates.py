"""A client may ask so often, each for itself, and health may be asked for always."""

from pathlib import Path
from typing import Any

import pytest

from services.gateway.access.keyring import Keyring
from services.gateway.access.rates import SECONDS, Rates, client_of
from shared.keys import create_key


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rates(clock: Clock, **limits: float) -> Rates:
    return Rates(per_second={"read": 2.0, **limits}, clock=clock, most=100)  # type: ignore[dict-item]


def test_a_quiet_client_may_ask_five_seconds_worth_at_once_and_then_at_the_rate(clock: Clock) -> None:
    bucket = rates(clock)
    assert [bucket.wait("a", "read") for _ in range(10)] == [0.0] * 10
    assert bucket.wait("a", "read") == pytest.approx(0.5)
    clock.now += 0.5
    assert bucket.wait("a", "read") == 0.0
    assert bucket.wait("a", "read") == pytest.approx(0.5)
    clock.now += 60
    assert [bucket.wait("a", "read") == 0.0 for _ in range(12)] == [True] * 10 + [False] * 2


def test_over_a_long_time_nobody_gets_more_than_the_rate(clock: Clock) -> None:
    bucket = rates(clock)
    let_in = 0
    for _ in range(10_000):
        clock.now += 0.01
        let_in += bucket.wait("a", "read") == 0.0
    assert let_in == pytest.approx(2.0 * (100 + SECONDS), abs=1)


def test_one_client_takes_nothing_from_another_and_one_scope_nothing_from_another(clock: Clock) -> None:
    bucket = rates(clock, control=1.0)
    while bucket.wait("a", "read") == 0.0:
        pass
    assert bucket.wait("b", "read") == 0.0
    assert bucket.wait("a", "control") == 0.0
    assert bucket.wait("a", "predict") == 0.0


def test_a_rate_below_one_in_five_seconds_still_lets_one_in(clock: Clock) -> None:
    bucket = rates(clock, read=0.01)
    assert bucket.wait("a", "read") == 0.0
    assert bucket.wait("a", "read") == pytest.approx(100.0)


def test_no_more_clients_are_remembered_than_may_be_and_none_that_is_quiet(clock: Clock) -> None:
    bucket = rates(clock)
    for number in range(1_000):
        bucket.wait(f"client {number}", "read")
        assert bucket.remembered <= 100
    clock.now += 60
    bucket.wait("a", "read")
    assert bucket.remembered == 1


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    assert client_of("2001:db8:1:2:3:4:5:6") == client_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert client_of("2001:db8:1:3::1") != client_of("2001:db8:1:2::1")
    assert (client_of("10.0.0.1"), client_of(None), client_of("fe80::1%eth0")) == ("10.0.0.1", "unknown", "fe80::/64")


def test_a_client_that_asks_too_often_is_told_when_there_is_room_again(bench: Any, clock: Clock) -> None:
    client = bench.client(rates=rates(clock, read=0.5))
    assert [client.get("/v1/runs").status_code for _ in range(3)] == [200, 200, 429]
    answer = client.get("/v1/runs")
    assert answer.json()["error"]["code"] == "rate_limited"
    assert answer.json()["error"]["where"] == "127.0.0.1"
    clock.now += float(answer.headers["retry-after"])
    assert client.get("/v1/runs").status_code == 200
    assert client.post("/v1/runs", json={"recipe": "tiny"}).status_code == 201
    assert {client.get(path).status_code for path in ("/livez", "/readyz", "/metrics") for _ in range(20)} == {200}


def test_keys_are_counted_each_for_itself_and_those_without_by_their_address(
    bench: Any, clock: Clock, tmp_path: Path
) -> None:
    keys = [create_key(tmp_path / "keys", name=name, scopes=("read",), clock=lambda: 0.0) for name in "ab"]
    client = bench.client(rates=rates(clock, read=0.2), keyring=Keyring(tmp_path / "keys"))

    def ask(key: str) -> int:
        return int(client.get("/v1/runs", headers={"authorization": f"Bearer {key}"}).status_code)

    assert [ask(keys[0]), ask(keys[0]), ask(keys[1])] == [200, 429, 200]
    assert [ask("wrong"), ask("wrong"), ask("other")] == [401, 429, 429]
