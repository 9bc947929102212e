"""Connections over real sockets, to an application of a few lines."""

import asyncio
import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn

from services.gateway import connection, server

PATIENCE = 20.0


@dataclass
class Site:
    """An application that answers with the body it was sent: at `/slow` when told to, at `/hasty` before it came."""

    port: int = 0
    answer: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", scope["path"] != "/hasty"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if scope["path"] == "/slow":
            gone = asyncio.ensure_future(receive())
            while not self.answer.is_set() and not gone.done():
                await asyncio.sleep(0.01)
            if gone.done():
                self.gone.set()
                return
            gone.cancel()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    listener = server.bind("127.0.0.1", 0)
    made.port = listener.getsockname()[1]
    config = uvicorn.Config(made, loop="uvloop", http=connection.Connection, lifespan="off", log_config=None)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    yield made
    made.answer.set()
    running.should_exit = True
    thread.join()


def request(path: str = "/", *lines: str, body: bytes = b"hello", version: str = "1.1") -> bytes:
    head = [f"POST {path} HTTP/{version}", "Host: localhost", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def rest(client: socket.socket) -> bytes:
    """All that comes until the other side ends."""
    said = b""
    while more := client.recv(65_536):
        said += more
    return said


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_client_that_ends_its_own_direction_is_answered(site: Site, version: str) -> None:
    for _ in range(20):  # the end comes in the same packet as the request, or after it
        with site.connect() as client:
            client.sendall(request(version=version))
            client.shutdown(socket.SHUT_WR)
            said = rest(client)
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert said.endswith(b"\r\n\r\nhello")


def test_client_that_ends_its_own_direction_after_several_requests_has_all_their_answers(site: Site) -> None:
    with site.connect() as client:
        client.sendall(request(body=b"a") + request(body=b"b") + request(body=b"c"))
        client.shutdown(socket.SHUT_WR)
        said = rest(client)
    assert [said.count(b"\r\n\r\n" + letter) for letter in (b"a", b"b", b"c")] == [1, 1, 1]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_client_that_ends_its_own_direction_waits_for_an_answer_that_takes_long(site: Site, version: str) -> None:
    threading.Timer(0.3, site.answer.set).start()
    with site.connect() as client:
        client.sendall(request("/slow", version=version))
        client.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(client)
        response.begin()  # passes over what is said before the answer, as HTTP wants it
        assert (response.status, response.read()) == (200, b"hello")
    assert not site.gone.is_set()


@pytest.mark.parametrize("reset", [False, True])
def test_client_that_went_away_is_told_from_one_that_waits(site: Site, reset: bool) -> None:
    with site.connect() as client:
        client.sendall(request("/slow"))
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert site.gone.wait(PATIENCE)


def test_client_that_ends_within_a_request_is_let_go(site: Site) -> None:
    for part in (b"", request()[:20], request()[:-1]):
        with site.connect() as client:
            client.sendall(part)
            client.shutdown(socket.SHUT_WR)
            assert rest(client) == b""


def refused(said: bytes) -> tuple[int, dict[str, Any]]:
    """The status and the error of an answer that ends the connection."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize(
    "begin",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 5_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: ",
        b"GET /",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nEtag: ",
    ],
    ids=["many headers", "a long header", "a long path", "a long trailer"],
)
def test_f36_head_without_end_is_refused(site: Site, begin: bytes) -> None:
    with site.connect() as client:
        client.sendall(begin)
        sent, said = 0, b""
        client.settimeout(0.05)
        with suppress(ConnectionError):
            while not said and sent < 64 * connection.HEAD_BYTES:
                with suppress(TimeoutError):
                    sent += client.send(b"a" * 16_384)
                    said = client.recv(65_536)
    assert sent < 64 * connection.HEAD_BYTES, "the gateway goes on reading"
    assert refused(said)[0] == 431
    assert refused(said)[1]["code"] == "head_too_large"


def test_f36_head_that_trickles_in_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    with site.connect() as silent, site.connect() as slow:
        slow.sendall(b"GET / HT")
        status, error = refused(rest(slow))
        assert (status, error["code"]) == (408, "head_timeout")
        assert rest(silent) == b""
    with site.connect() as client:  # after a first request too
        client.sendall(request())
        client.recv(65_536)
        client.sendall(request()[:10])
        assert refused(rest(client))[0] == 408


@pytest.mark.parametrize("late", [b"h", b"hello"], ids=["a piece of it", "all of it"])
def test_f36_client_that_is_answered_before_its_body_came_is_not_kept_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch, late: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    with site.connect() as client:
        client.sendall(request("/hasty").removesuffix(b"hello"))
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 OK")
        client.sendall(late)  # and then nothing
        rest(client)


def test_body_that_comes_after_its_answer_is_no_part_of_the_next_request(site: Site) -> None:
    with site.connect() as client:
        client.sendall(request("/hasty").removesuffix(b"hello"))
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 OK")
        client.sendall(b"hello" + request(body=b"next"))
        assert client.recv(65_536).endswith(b"\r\n\r\nnext")


def test_client_that_waits_for_a_long_answer_has_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
    threading.Timer(0.4, site.answer.set).start()
    with site.connect() as client:
        client.sendall(request("/slow"))
        client.sendall(request(body=b"next")[:10])
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "said", [b"\x16\x03\x01\x02\x00", b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_no_http_is_refused_in_the_one_shape_of_errors(site: Site, said: bytes) -> None:
    with site.connect() as client:
        client.sendall(said)
        status, error = refused(rest(client))
    assert (status, error["code"]) == (400, "bad_http")
    assert set(error) == {"code", "message", "where", "hint"}


def test_client_that_offers_http2_is_answered_in_http1_with_its_body(site: Site) -> None:
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAA")
    with site.connect() as client:
        for _ in range(2):
            client.sendall(request("/", *upgrade))
            response = http.client.HTTPResponse(client)
            response.begin()
            assert (response.status, response.read()) == (200, b"hello")


def test_offers_of_http2_in_every_request_of_a_packet_are_passed_over(site: Site) -> None:
    offer = ("Connection: keep-alive, Upgrade", "Upgrade: h2c")
    chunked = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n" + "\r\n".join([*offer, "", ""])
    with site.connect() as client:
        client.sendall(request("/", *offer, body=b"first") + request("/", *offer, body=b"") + chunked.encode())
        client.sendall(b"3\r\nthi\r\n2\r\nrd\r\n0\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        said = rest(client)
    assert said.count(b"HTTP/1.1 200 OK") == 3
    assert b"\r\n\r\nfirst" in said
    assert said.endswith(b"third")


def test_tunnels_are_refused(site: Site) -> None:
    with site.connect() as client:
        client.sendall(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
        assert refused(rest(client))[0] == 400
