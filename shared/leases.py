"""Leases: "I am reading this checkpoint", so that pruning keeps away from it and others do not judge it too.

A lease lives while its `beat` grows. Whoever watches measures that on its own monotonic clock, so neither a jump of the
wall clock nor two machines with different clocks can expire a living lease or keep a dead one. Leases are advice: what
makes each verdict unique is that its file is created by whoever comes first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared.errors import VolumeError
from shared.records import Lease, read_record_or_none


@dataclass(frozen=True)
class _Seen:
    token: str
    beat: int
    since: float


class LeaseWatch:
    """Tells living leases from abandoned ones.

    Args:
        clock: Monotonic seconds.
        expiry: Seconds without a new beat after which a lease counts as abandoned.
    """

    def __init__(self, *, clock: Callable[[], float], expiry: float) -> None:
        self._clock = clock
        self._expiry = expiry
        self._seen: dict[Path, _Seen] = {}

    def live(self, path: Path) -> Lease | None:
        """The lease at `path` if there is one and it lives. One seen for the first time is taken to live."""
        try:
            lease = read_record_or_none(path, Lease)
        except VolumeError:
            lease = None  # an unreadable lease protects nothing; its owner would have replaced it whole
        if lease is None:
            self._seen.pop(path, None)
            return None
        now = self._clock()
        seen = self._seen.get(path)
        if seen is None or (seen.token, seen.beat) != (lease.token, lease.beat):
            self._seen[path] = _Seen(token=lease.token, beat=lease.beat, since=now)
            return lease
        return lease if now - seen.since <= self._expiry else None
