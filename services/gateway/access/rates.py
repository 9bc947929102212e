"""How often one client may ask: a token bucket for each client and scope.

A client is its key's name or, where there is none, its address; of IPv6 the network of 64 bits, which one client is
given. Nothing is kept of a client whose buckets are full again, so what is kept stays small.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Mapping

from shared.keys import Scope

SECONDS = 5.0
"""How many seconds' worth a client that was quiet may ask at once."""
MOST_CLIENTS = 10_000


class Rates:
    """Counts what clients ask.

    Args:
        per_second: Requests of each scope; 0: as many as they like.
        clock: Monotonic seconds.
        most: Clients that are remembered; of more, the one that was quiet for longest is forgotten.
    """

    def __init__(
        self, *, per_second: Mapping[Scope, float], clock: Callable[[], float], most: int = MOST_CLIENTS
    ) -> None:
        self._per_second = per_second
        self._clock = clock
        self._most = most
        self._full_at: OrderedDict[tuple[str, Scope], float] = OrderedDict()

    def wait(self, client: str, scope: Scope) -> float:
        """Counts a request.

        Returns:
            0.0 if it may be answered; otherwise it is not counted, and these are the seconds until one may be.
        """
        rate = self._per_second.get(scope, 0.0)
        if not rate:
            return 0.0
        # A bucket is known by when it will be full: that is all that has to be kept.
        now, key = self._clock(), (client, scope)
        full_at = max(now, self._full_at.get(key, now)) + 1.0 / rate
        late = full_at - now - max(SECONDS, 1.0 / rate)
        if late > 1e-9:
            return late
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        self._forget(now)
        return 0.0

    @property
    def remembered(self) -> int:
        """How many buckets are not known to be full."""
        return len(self._full_at)

    def _forget(self, now: float) -> None:
        while self._full_at:
            key, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= self._most:
                return
            del self._full_at[key]


def client_of(address: str | None) -> str:
    """What stands for a client that has no key."""
    if address is None or ":" not in address:
        return address or "unknown"
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address
