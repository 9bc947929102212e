"""The gateway as a process, asked over real sockets by clients that misbehave."""

import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes.serving import BODY_BYTES, BODY_SECONDS, PATH, Gateway, png, serving, until


def head(*lines: str, path: str = PATH) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: image/png", *lines, "", ""]).encode()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("predict")) as made:
        yield made


def test_f36_endless_chunked_body_is_refused_and_memory_stays_flat(gateway: Gateway) -> None:
    Path(f"/proc/{gateway.process.pid}/clear_refs").write_text("5")  # the peak counts from now on
    before = gateway.memory()
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with gateway.connect() as client:
        client.sendall(head("Transfer-Encoding: chunked"))
        sent = 0
        try:
            while sent < 10_000 * len(chunk):
                client.sendall(chunk)
                sent += len(chunk)
                assert sent < 64 * BODY_BYTES, "the gateway goes on reading"
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert gateway.memory("VmHWM") - before < 20 * 2**20
    assert gateway.classify()[0] == 200


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [(PATH, "https://evil.example", 403), ("/v1/runs", None, 413), ("/v1/nowhere", None, 404)],
)
def test_f36_a_client_that_was_refused_and_goes_on_sending_is_cut_off(
    gateway: Gateway, path: str, origin: str | None, status: int
) -> None:
    lines = [] if origin is None else [f"Origin: {origin}"]
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with gateway.connect() as client:
        client.sendall(head("Transfer-Encoding: chunked", *lines, path=path))
        sent = 0
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < 64 * BODY_BYTES:
                client.sendall(chunk)
                sent += len(chunk)
        assert sent < 64 * BODY_BYTES, "the gateway goes on reading"
    with gateway.connect() as client:  # one that listens is told why
        client.sendall(head("Content-Length: 10000000000", *lines, path=path))
        answer = b""
        while more := client.recv(65_536):
            answer += more
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"connection: close" in answer
    assert gateway.classify()[0] == 200


def test_f36_body_announced_as_ten_gigabytes_is_refused_unread(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.sendall(head("Content-Length: 10000000000"))
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_f36_body_that_trickles_in_is_given_up(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.sendall(head("Content-Length: 1000"))
        begin = time.monotonic()
        client.sendall(b"\x89PNG")
        assert client.recv(100).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begin >= BODY_SECONDS - 0.1


def test_client_that_sends_nothing_more_is_answered_all_the_same(gateway: Gateway) -> None:
    body = png()
    with gateway.connect() as client:
        client.sendall(head(f"Content-Length: {len(body)}") + body)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while more := client.recv(65_536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"]


def test_f40_clients_that_go_away_leave_nothing_behind(gateway: Gateway) -> None:
    body = png()
    rest = [b"", head(f"Content-Length: {len(body)}"), head(f"Content-Length: {len(body)}") + body[:10]]
    rest += [rest[1] + body, rest[1] + body + head()[:30]]

    def go_away(clients: int) -> None:
        for number in range(clients):
            with gateway.connect() as client:
                client.sendall(rest[number % len(rest)])
                if number % 2:  # closed by a reset, as when a client dies, instead of in order
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert gateway.classify()[0] == 200

    sockets = gateway.sockets()
    go_away(1_000)
    until(lambda: gateway.sockets() <= sockets)
    before = gateway.memory()  # all that is made once is made
    go_away(2_000)
    until(lambda: gateway.sockets() <= sockets)
    until(lambda: gateway.metric("tandem_predict_waiting_images") == 0)
    assert gateway.memory() - before < 2**20, "whatever stays of a client is more than half a kilobyte"
