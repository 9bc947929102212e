"""One request to a receiver, with the standard library: no redirects, no proxies, a time limit."""

import ssl
from collections.abc import Callable, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

SECONDS = 10.0
ANSWER_BYTES = 65_536

Post = Callable[[str, bytes, Mapping[str, str]], str | None]
"""Sends a body to an address; says what went wrong, or None if the receiver took it."""


def post(url: str, body: bytes, headers: Mapping[str, str]) -> str | None:
    """Sends a body to an address.

    Returns:
        None if the answer was a success (2xx); otherwise what went wrong, without the address.
    """
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        with closing(_connection(parts.scheme, parts.hostname or "", parts.port)) as connection:
            connection.request("POST", target, body, dict(headers))
            with connection.getresponse() as answer:
                answer.read(ANSWER_BYTES)
                return None if 200 <= answer.status < 300 else f"it answered {answer.status}"
    except TimeoutError:
        return f"it did not answer within {SECONDS:g} s"
    except ssl.SSLError as error:
        return f"TLS: {error.reason or 'the connection failed'}"
    except OSError as error:
        return error.strerror or type(error).__name__
    except HTTPException as error:
        return f"it does not speak HTTP ({type(error).__name__})"


def _connection(scheme: str, host: str, port: int | None) -> HTTPConnection:
    if scheme == "https":
        return HTTPSConnection(host, port, timeout=SECONDS, context=ssl.create_default_context())
    return HTTPConnection(host, port, timeout=SECONDS)
