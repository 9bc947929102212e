"""Who asked for what: `gateway/audit.jsonl`, a line for each call that was to change something, and what came of it.

A line is written when the call is answered; a gateway that is killed in between leaves the run's own events to tell of
it. Calls without a known key are not in it (nobody could be named; `/metrics` counts them), so a flood of them cannot
push others out. The gateway is the file's one writer.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from services.gateway.access.keyring import Caller
from shared.atomic import LineAppender

FILE_BYTES = 32 * 2**20
CALL = "tandem.call"
"""Where a route finds its `Call` in the ASGI scope."""

_log = logging.getLogger(__name__)


class AuditLine(BaseModel):
    """One call on one run.

    Attributes:
        time: When it was answered, in seconds since the epoch.
        who: The name of the key; None where the gateway asks for none.
        client: The address that it came from.
        what: Was asked for.
        run: On which run; of one that was started, the new one; None if there is none.
        made: The run that a fork made.
        step: Of the checkpoint, where one was meant.
        status: What was answered, as a status of HTTP.
    """

    time: float
    who: str | None
    client: str | None
    what: str
    run: str | None
    made: str | None = None
    step: int | None = None
    status: int


@dataclass
class Call:
    """One call while it is answered.

    Attributes:
        caller: Who asks.
        results: What became of each run, where one call asks many.
    """

    caller: Caller
    results: list[tuple[str, int]] = field(default_factory=list)


class Audit:
    """Writes the lines.

    Args:
        path: The file; at `limit` bytes it is moved to `<name>.1`.
        clock: Seconds since the epoch.
        limit: In bytes.
    """

    def __init__(self, *, path: Path, clock: Callable[[], float], limit: int = FILE_BYTES) -> None:
        self._lines = LineAppender(path, limit=limit)
        self._clock = clock

    def write(
        self,
        call: Call,
        *,
        client: str | None,
        what: str,
        run: str | None,
        made: str | None,
        step: int | None,
        status: int,
    ) -> None:
        """Writes what came of a call: a line for each run that it asked, at least one. Never raises."""
        results: list[tuple[str | None, int]] = [*call.results] or [(run, status)]
        for each, became in results:
            line = AuditLine(
                time=self._clock(),
                who=call.caller.name,
                client=client,
                what=what,
                run=made if each is None else each,
                made=None if each is None else made,
                step=step,
                status=became,
            )
            try:
                self._lines.append(line.model_dump_json(exclude_none=False).encode())
            except OSError:
                _log.exception("a call could not be written into the audit: %s", line)
