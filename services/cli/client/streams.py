"""Server-sent events of a gateway, followed over broken connections without loss or repeat.

The format is that of the HTML standard ("Server-sent events"): lines `event:`, `data:`, `id:`, `retry:`, comments after
a colon, an empty line ends an event. A stream that ends is asked for anew, behind the last event that came whole; a
gateway that has no more to say answers 204.
"""

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from services.cli.client.transport import GatewayError, Transport, quoted
from shared.errors import UnavailableError

QUIET_SECONDS = 60.0  # the gateway sends a comment now and then, so silence means a dead connection
PATIENCE_SECONDS = 120.0
RETRY_SECONDS = 1.0
KINDS = ("state", "series", "evaluation", "event", "log")


@dataclass(frozen=True)
class StreamEvent:
    """One event: what kind it is, its id for going on behind it, and its data as the views have it."""

    kind: str
    id: str | None
    data: dict[str, Any]


class StreamCalls:
    """The calls that go on."""

    _transport: Transport

    def stream(
        self,
        run: str | None = None,
        *,
        kinds: Sequence[str] = (),
        level: str | None = None,
        services: Sequence[str] = (),
        after: str | None = None,
        patience: float = PATIENCE_SECONDS,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> Generator[StreamEvent, None, None]:
        """What happens, as it happens; goes on by itself when the connection or the gateway was away.

        Args:
            run: Of this run; without it the states and evaluations of all.
            kinds: Some of `state`, `series`, `evaluation`, `event`, `log`; without any all but `log`.
            level: Of log lines: only those at least as grave.
            services: Of log lines: only those of these services.
            after: The id of the last event that is known already, or the cursor of a page of events or lines.
            patience: Seconds without any gateway until it is given up; one that never answered is at once.
            sleep: Waits between attempts.
            clock: Monotonic seconds.

        Raises:
            UnavailableError: No gateway for longer than `patience`.
            TandemError: The gateway refuses, such as NotFoundError.
        """
        path = "/v1/stream" if run is None else f"/v1/runs/{quoted(run)}/stream"
        query = {"kinds": ",".join(kinds) or None, "level": level, "service": list(services) or None, "after": after}
        retry, connected, away = RETRY_SECONDS, False, None
        while True:
            headers = {"accept": "text/event-stream"} | ({} if after is None else {"last-event-id": after})
            try:
                with self._transport.open(path, quiet_seconds=QUIET_SECONDS, params=query, headers=headers) as response:
                    if response.status_code == httpx.codes.NO_CONTENT:
                        return
                    connected, away = True, None
                    for event in parsed(response.iter_lines()):
                        if isinstance(event, float):
                            retry = event
                            continue
                        after = event.id or after
                        yield event
            except UnavailableError:
                away = clock() if away is None else away
                if not connected or clock() - away > patience:
                    raise
            sleep(retry)


def parsed(lines: Iterable[str]) -> Iterator[StreamEvent | float]:
    """The events in the lines of a stream, and each number of seconds to wait before connecting anew.

    An event that is cut off is not given: it comes again after reconnecting.
    """
    kind, identity, data = "", None, list[str]()
    for line in lines:
        if not line:
            if data:
                yield StreamEvent(kind=kind or "message", id=identity, data=_mapping("\n".join(data)))
            kind, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                kind = value
            case "data":
                data.append(value)
            case "id":
                identity = value
            case "retry" if value.isdecimal():
                yield int(value) / 1000


def _mapping(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise GatewayError("the stream's data is no JSON", hint="Is that address the gateway's?") from error
    return values if isinstance(values, dict) else {"value": values}
