"""Where a listener stands: a byte offset in each file it follows, written as the id of a server-sent event.

    ge:1204,te:388,s:20481

The files are on the volume, so an id means the same after the gateway was restarted. A source that an id does not name
is followed from its end.
"""

import re
from collections.abc import Sequence

from shared.errors import InputError

_ONE = "[a-z]{1,8}[0-9a-f]{0,8}:[0-9]{1,18}"
PATTERN = f"({_ONE}(,{_ONE})*)?"
"""What ids look like, for the description of the API."""
_PART = re.compile(r"([a-z]{1,8}[0-9a-f]{0,8}):([0-9]{1,18})", re.ASCII)
_LONGEST = 2_000

Position = dict[str, int]


def parse_position(texts: Sequence[str], *, where: str) -> Position:
    """The position that some ids stand for together; of a source that several name, the last one counts.

    Raises:
        InputError: One of them is no id.
    """
    position: Position = {}
    for text in texts:
        for part in text.split(",") if text else ():
            found = _PART.fullmatch(part)
            if found is None or len(text) > _LONGEST:
                raise InputError(
                    f"{text[:80]!r} is no position in a stream", where=where, hint="Give an id as it was received"
                )
            position[found[1]] = int(found[2])
    return position


def format_position(position: Position) -> str:
    """The id for a position."""
    return ",".join(f"{key}:{offset}" for key, offset in position.items())
