"""One client's connection: uvicorn's, for clients that half-close, offer HTTP/2, or never come to the point.

**Half-closing.** A client may end its own direction once a request is sent, and wait for the answer all the same
(`nc -N`, `shutdown(SHUT_WR)`). One that went away looks just like that. So such a connection stays until it is
answered; when that takes a while, the client is told to go on (`100 Continue`, which every client of HTTP/1.1 has to
understand at any time), and from one that is not there any more this brings back a reset: its work is dropped as ever.

**HTTP/2.** Java's client and `curl --http2` offer to go on in HTTP/2 with each first request. The parser takes whatever
follows such a head for HTTP/2 already, and so drops the body; nobody has agreed to that, so it is given the same head
again without the offer.

**Heads.** A request's head is limited in bytes and in seconds, and so is whatever else of a request is no body, and
the rest of a body after its answer.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway import errors

HEAD_BYTES = 65_536
HEAD_SECONDS = 10.0
FIRST_PROBE_SECONDS = 0.05
_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(HttpToolsProtocol):
    """A connection, as uvicorn makes one for each client."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.url = b""
        self._offered = False
        self._advanced = False
        self._barren = 0
        self._patience: asyncio.TimerHandle | None = None

    # As uvicorn's class declares it: narrower than asyncio's protocol, which also serves what is no stream.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected; from here on it has time for its first request's head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone in both directions."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes came; those that complete no head and bring nothing of a body are counted."""
        self._unset_keepalive_if_required()
        self._advanced = False
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(
                400,
                code="bad_http",
                message="what came is no request of HTTP/1.1",
                hint="Ask with http://, or https:// where a proxy in front of the gateway speaks it",
            )
        if self._advanced or self.transport.is_closing():
            return
        self._barren += len(data)
        if self._barren > HEAD_BYTES:
            self._refuse(
                431,
                code="head_too_large",
                message=f"the head of the request is over the limit of {HEAD_BYTES:,} bytes",
                hint="Send fewer or shorter headers",
            )
        elif self._patience is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._advance()
        self._offered = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._offered:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body came, which is of no use once the request has been answered without it."""
        if not self.cycle.response_complete:
            self._advance()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._advance()
        if not self._offered:
            if self.cycle.response_complete:
                self._wait_for_head()  # nothing else bounds it: what came has ended the wait that its answer began
            super().on_message_complete()

    # uvicorn's class declares None, which ends the connection; asyncio's protocol lets it stay with True.
    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client sends nothing any more. Whether the connection stays for what it has asked already."""
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_started:
            return None
        cycle.keep_alive = False
        if self.scope["http_version"] == "1.1":
            self.loop.call_later(FIRST_PROBE_SECONDS, self._probe, 2 * FIRST_PROBE_SECONDS)
        return True

    def _parse(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                self.parser.feed_data(left)
                return
            except httptools.HttpParserUpgrade as offer:
                if not self._offered:
                    raise httptools.HttpParserError from offer
                left = left[offer.args[0] :]
                self.parser.feed_data(self._head_without_offer())

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _advance(self) -> None:
        self._advanced = True
        self._barren = 0
        self._stop_waiting()

    def _probe(self, pause: float) -> None:
        if self.transport.is_closing() or self.cycle.response_started:
            return
        if not self.pipeline:  # else an earlier answer may be under way
            self.transport.write(_GO_ON)
        self.loop.call_later(pause, self._probe, 2 * pause)

    def _wait_for_head(self) -> None:
        self._patience = self.loop.call_later(HEAD_SECONDS, self._lose_patience)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_for_head()  # it is this side that is late
        elif not self._barren:
            self.transport.close()
        else:
            self._refuse(
                408,
                code="head_timeout",
                message=f"the head of the request did not arrive within {HEAD_SECONDS:g} seconds",
                hint="Ask again",
            )

    def _refuse(self, status: int, *, code: str, message: str, hint: str) -> None:
        """Answers without asking the application, if no other answer is under way; ends the connection."""
        cycle = self.cycle
        if not self.pipeline and (cycle is None or cycle.response_complete or not cycle.response_started):
            path = self.url.decode("latin-1").partition("?")[0]
            answer = errors.answer(status, code=code, message=message, hint=hint, path=path)
            head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
            head += [name + b": " + value for name, value in answer.raw_headers]
            self.transport.write(b"\r\n".join([*head, b"connection: close", b"", bytes(answer.body)]))
        self.transport.close()
