"""A client of server-sent events that speaks ASGI: httpx's transport for applications waits for the whole answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI

SECONDS = 20


@dataclass(frozen=True)
class Message:
    """One server-sent event; `kind` is empty for a bare id."""

    kind: str
    id: str
    data: Any


class Listener:
    """Listens to one stream until it has seen enough."""

    def __init__(self, app: FastAPI, path: str, *, last: str | None = None, **query: Any) -> None:
        self._app = app
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": urlencode(query, doseq=True).encode(),
            "headers": [] if last is None else [(b"last-event-id", last.encode())],
            "client": ("127.0.0.1", 1),
            "server": ("gateway", 80),
            "scheme": "http",
        }
        self.messages: list[Message] = []
        self.status = 0
        self.ended = False
        self._text = ""
        self._news = asyncio.Event()
        self._left = asyncio.Event()

    async def __aenter__(self) -> "Listener":
        self._task = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        await self.until(lambda: bool(self.messages) or self.status not in {0, 200})
        return self

    async def __aexit__(self, *_: object) -> None:
        self._left.set()
        await asyncio.wait_for(self._task, SECONDS)

    @property
    def last(self) -> str:
        return self.messages[-1].id

    def of(self, kind: str) -> list[Any]:
        return [message.data for message in self.messages if message.kind == kind]

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not seen():
                await self._news.wait()
                self._news.clear()

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self._text += message["body"].decode()
            self.ended = not message.get("more_body", False)
            *blocks, self._text = self._text.split("\n\n")
            self.messages += [_message(block) for block in blocks]
        self._news.set()


def listen(what: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(what())


def _message(block: str) -> Message:
    fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
    return Message(fields.get("event", ""), fields["id"], json.loads(fields.get("data", "null")))
