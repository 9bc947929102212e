"""In front of every route: lets in who may, as often as they may, and writes down who asked for a change.

It stands before routing, so that nothing of a body is read, and nothing of a run is told, before it is known who asks.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway import errors
from services.gateway.access.audit import CALL, Audit, Call
from services.gateway.access.cross_origin import refuse_cross_origin
from services.gateway.access.keyring import ANYBODY, Caller, Keyring, require
from services.gateway.access.rates import Rates, client_of
from services.gateway.access.scopes import Entry, entries, find
from shared.errors import ForbiddenError, RateLimitedError, TandemError, UnauthenticatedError


class _Revoked(Exception):
    """The key of an answer under way is no longer known."""


@dataclass
class _Answer:
    """What is seen of an answer."""

    status: int = 500
    location: str | None = None


class Gate:
    """Lets requests through to the application, or answers them itself with 401, 403, 429 or 503.

    An answer that goes on for long, such as a stream, ends when its key is revoked.

    Args:
        app: What is guarded.
        routes: Of the application, each of which says what it needs.
        keyring: Knows the keys.
        audit: Where calls for `control` are written down; None: nowhere.
        rates: How often a client may ask; None: as it likes.
        local_only: Whether only this machine can connect, and web pages of others must be told apart.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Callable[[], Sequence[BaseRoute]],
        keyring: Keyring,
        audit: Audit | None,
        rates: Rates | None = None,
        local_only: bool = False,
    ) -> None:
        self._app = app
        self._routes = routes
        self._keyring = keyring
        self._audit = audit
        self._rates = rates
        self._local_only = local_only
        self._table: list[Entry] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._table is None:
            self._table = entries(self._routes())
        found = find(self._table, scope["method"], scope["path"])
        if found is None:
            await self._app(scope, receive, send)  # 404 or 405, which tell of no run
            return
        entry, parameters = found
        answer = _Answer()
        try:
            caller = self._admit(scope, entry)
            self._count(scope, entry, caller)
        except TandemError as error:
            scope["route"] = entry  # by whose path it is counted
            await errors.answer_error(error, path=scope["path"])(scope, receive, send)
            if isinstance(error, ForbiddenError):
                self._write(scope, entry, parameters, _Answer(status=403))
            return
        try:
            await self._app(scope, receive, self._watched(scope, entry, answer, send))
        except _Revoked:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._write(scope, entry, parameters, answer)

    def _admit(self, scope: Scope, entry: Entry) -> Caller:
        if not entry.needs.scopes:
            return ANYBODY
        try:
            caller = self._keyring.caller(_authorizations(scope))
        except UnauthenticatedError:
            self._count(scope, entry, ANYBODY)  # so that nobody tries keys faster than others may ask
            raise
        scope.setdefault(CALL, Call(caller=caller))
        if self._local_only:
            refuse_cross_origin(scope["method"], scope["headers"])
        require(caller, entry.needs.scopes)
        return caller

    def _count(self, scope: Scope, entry: Entry, caller: Caller) -> None:
        if self._rates is None or not entry.needs.scopes:
            return
        client = client_of(_address(scope)) if caller.name is None else f"key {caller.name}"
        wait = self._rates.wait(client, entry.needs.scopes[0])
        if wait:
            raise RateLimitedError(
                f"asks more often than it may for the scope {entry.needs.scopes[0]}",
                where=client,
                hint=f"Ask again in {wait:.1f} s",
                retry_after=math.ceil(wait),
            )

    def _watched(self, scope: Scope, entry: Entry, answer: _Answer, send: Send) -> Send:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.location = _value(message.get("headers", ()), b"location")
            elif begun:
                try:
                    self._admit(scope, entry)
                except TandemError as error:
                    raise _Revoked from error
            else:
                begun = True
            await send(message)

        return watched

    def _write(self, scope: Scope, entry: Entry, parameters: dict[str, str], answer: _Answer) -> None:
        if self._audit is None or "control" not in entry.needs.scopes:
            return
        call: Call = scope[CALL]
        step = None
        with contextlib.suppress(KeyError, ValueError):
            step = int(parameters["step"])
        self._audit.write(
            call,
            client=_address(scope),
            what=entry.needs.what.format(**parameters)[:80],
            run=None if "run" not in parameters else parameters["run"][:80],
            made=None if answer.location is None else answer.location.rpartition("/")[2],
            step=step,
            status=answer.status,
        )


def _address(scope: Scope) -> str | None:
    return scope["client"][0] if scope.get("client") else None


def _authorizations(scope: Scope) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == b"authorization"]


def _value(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in headers if name.lower() == wanted), None)
