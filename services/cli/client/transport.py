"""Requests to a gateway, and what became of them: an answer, or the error that the gateway named."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from shared.errors import TandemError, UnavailableError

V = TypeVar("V", bound=BaseModel)

_RELEASE = "Use the release of tandem that it runs"


class GatewayError(TandemError):
    """What answered did not answer as this release's gateway does: an error of its own, or another program."""

    code = "gateway_error"


class Transport:
    """Sends requests and reads answers.

    Args:
        http: Knows the gateway's address, the key, and how long to wait.
    """

    def __init__(self, *, http: httpx.Client) -> None:
        self.http = http

    @property
    def url(self) -> str:
        """The gateway's address, without a slash at its end."""
        return str(self.http.base_url).rstrip("/")

    def send(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of the answer; None where there is no body.

        Args:
            method: Of HTTP.
            path: From the gateway's root on; `quoted` makes its parts.
            **options: Of `httpx.Client.request`; parameters that are None or empty are left out.

        Raises:
            UnavailableError: Nobody answered.
            GatewayError: What answered is no gateway of this release.
            TandemError: The error that the gateway named.
        """
        with self._told():
            response = self.http.request(method, path, **_tidy(options))
        if not response.is_success:
            raise _error(response)
        return _json(response) if response.content else None

    @contextmanager
    def open(self, path: str, *, quiet_seconds: float, **options: Any) -> Iterator[httpx.Response]:
        """An answer that goes on, to be read as it comes. Raises like `send`, also while it is read.

        Args:
            path: From the gateway's root on.
            quiet_seconds: For how long nothing may come before the connection counts as dead.
            **options: As of `send`.
        """
        timeout = httpx.Timeout(self.http.timeout.connect, read=quiet_seconds)
        with self._told(), self.http.stream("GET", path, timeout=timeout, **_tidy(options)) as response:
            if not response.is_success:
                response.read()
                raise _error(response)
            yield response

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise UnavailableError(
                "the gateway did not answer in time", where=self.url, hint="Look at its log, or try again"
            ) from error
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"no gateway answers ({str(error) or type(error).__name__})",
                where=self.url,
                hint="Start one with `tandem up`, or name its address in TANDEM_URL",
            ) from error


def quoted(name: str) -> str:
    """A name as one part of a path, whatever stands in it."""
    return quote(name, safe="")


def new_key() -> str:
    """A value for the header Idempotency-Key that no one has used."""
    return secrets.token_hex(16)


def listed(answer: Any, key: str) -> Sequence[Any]:
    """The list `key` of an answer. Raises GatewayError where there is none."""
    items = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise GatewayError(f"the gateway's answer has no list {key!r}", hint=_RELEASE)
    return items


def view(kind: type[V], values: Any) -> V:
    """An answer as a value. Raises GatewayError where it is none of that kind."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise GatewayError(
            f"the gateway's answer is not the {kind.__name__.lower()} that was asked for: {field}: {first['msg']}",
            hint=_RELEASE,
        ) from error


def error_of(values: Mapping[str, Any]) -> TandemError:
    """An error in the one JSON shape, as the class that has its code."""
    kind = _classes().get(str(values.get("code")), GatewayError)
    return kind(str(values["message"]), where=values.get("where"), hint=values.get("hint"))


def _tidy(options: dict[str, Any]) -> dict[str, Any]:
    if "params" in options:
        options["params"] = {key: value for key, value in options["params"].items() if value is not None}
    return options


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise _foreign(response) from error


def _error(response: httpx.Response) -> TandemError:
    body = _json(response)
    values = body.get("error") if isinstance(body, dict) else None
    if isinstance(values, str):  # on the routes of other protocols the same stands beside a plain sentence
        values = body
    if not isinstance(values, dict) or not isinstance(values.get("message"), str):
        return _foreign(response)
    return error_of(values)


def _foreign(response: httpx.Response) -> GatewayError:
    return GatewayError(
        f"answered {response.status_code} without an answer of tandem's",
        where=str(response.request.url),
        hint="Is that address the gateway's? TANDEM_URL names another",
    )


def _classes() -> dict[str, type[TandemError]]:
    return {kind.code: kind for kind in _tree(TandemError)}


def _tree(kind: type[TandemError]) -> Iterator[type[TandemError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)
