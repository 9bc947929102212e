"""Web pages of others, which the browser of somebody at this machine would carry to a gateway that asks for no key.

Without keys only this machine can connect; but any page that a browser on it shows can have it send requests here, and
by a name of the page's own that suddenly means this machine (DNS rebinding) even read the answers. What gives both away
are headers that no page can change: `Host`, by which name the gateway was asked, and `Origin`, which page asks.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from shared.errors import ForbiddenError

_HINT = "Let it ask for keys (TANDEM_GATEWAY_KEYS); `tandem keys create` makes the first"
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


def refuse_cross_origin(method: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuses what a page of somebody else may have sent. For gateways that ask for no key.

    Args:
        method: Of the request.
        headers: Of the request, their names in small letters.

    Raises:
        ForbiddenError: It was asked under a name that is not this machine's, or by a page from elsewhere.
    """
    values = {name: value.decode("latin-1") for name, value in headers}
    host = values.get(b"host", "")
    if not _is_here(host):
        raise ForbiddenError(
            f"without keys it answers to names of this machine alone, and was asked as {host[:80]!r}",
            where="Host",
            hint=_HINT,
        )
    origin = values.get(b"origin")
    strange = origin is not None and origin.partition("://")[2] != host
    if method not in _READS and (strange or values.get(b"sec-fetch-site") in ("cross-site", "same-site")):
        raise ForbiddenError(
            f"without keys it does nothing for pages from elsewhere, such as {str(origin)[:80]!r}",
            where="Origin",
            hint=_HINT,
        )


@lru_cache(maxsize=64)
def _is_here(host: str) -> bool:
    name = host[: host.index("]") + 1].strip("[]") if host.startswith("[") and "]" in host else host.partition(":")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
