"""From a change in the feed to what a webhook is sent: an id that stays the same, a body, and a signature.

Ids and signatures are those of the Standard Webhooks specification (standardwebhooks.com), so receivers can verify them
with its libraries: `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `<id>.<timestamp>.<body>`.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.gateway.streams.feed import Change
from services.gateway.webhooks.configuration import EventKind, Webhook


@dataclass(frozen=True)
class Message:
    """What is sent.

    Attributes:
        id: The same whenever this event is sent again, by whichever gateway.
        body: JSON.
    """

    id: str
    body: bytes


def messages(hook: Webhook, change: Change) -> Iterator[Message]:
    """What a webhook is sent of a change: nothing, one message, or, of a verdict, up to two."""
    for kind, more in _events(hook, change):
        if kind in hook.events:
            data = {**change.data, **more}
            number = _id(kind, change, data)
            values = {"id": number, "type": f"run.{kind}", "time": change.time, "run": change.run, "data": data}
            yield Message(id=number, body=json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode())


def headers(message: Message, *, secrets: Sequence[bytes], now: int) -> dict[str, str]:
    """The headers that a message is sent with.

    Args:
        message: What is sent.
        secrets: With each of which it is signed.
        now: Seconds since the epoch; a receiver refuses what is old, so that nobody can send it again.
    """
    signed = f"{message.id}.{now}.".encode() + message.body
    signatures = [f"v1,{base64.b64encode(hmac.digest(secret, signed, 'sha256')).decode()}" for secret in secrets]
    return {
        "content-type": "application/json",
        "user-agent": "tandem",
        "webhook-id": message.id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(signatures),
    }


def _events(hook: Webhook, change: Change) -> Iterator[tuple[EventKind, Mapping[str, Any]]]:
    if change.kind == "state":
        if hook.states is None or change.data.get("to") in hook.states:
            yield "state", {}
        return
    if change.kind == "evaluation":
        yield "evaluation", {}
        threshold = hook.thresholds.raw if change.data.get("weights") == "raw" else hook.thresholds.ema
        precision, before = change.data.get("precision_at_1"), change.data.get("previous_best")
        if threshold is not None and precision is not None and precision >= threshold > (before or 0.0):
            yield "threshold", {"threshold": threshold}
        return
    yield change.kind, {}


def _id(kind: EventKind, change: Change, data: Mapping[str, Any]) -> str:
    # Of what makes this event this one, never of the line that tells of it: a killed gateway may write it twice.
    place = (
        change.at if kind == "state" else [data.get(name) for name in ("step", "kind", "weights", "decay", "threshold")]
    )
    text = json.dumps([kind, change.run, place])
    return f"msg_{hashlib.sha256(text.encode()).hexdigest()[:32]}"
