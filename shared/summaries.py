"""What TensorBoard shows, as values, and their encoding as event messages.

The messages are those of TensorFlow's `event.proto` and `summary.proto`, written field by field: they need neither
TensorFlow nor TensorBoard. `docs/decisions/0001-event-files.md` says why. How they lie in files: `shared.eventfiles`.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# The first message of every file. Version 2 says that a restart is told by a message, never guessed from the steps.
FILE_VERSION = b"brain.Event:2"

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_SESSION_START = 1
_RGB = 3


@dataclass(frozen=True)
class Histogram:
    """How values are spread: `counts` (float64 [buckets]) over as many buckets of equal width from `low` to `high`.

    `total` and `squares` are the sums of the values and of their squares.
    """

    low: float
    high: float
    total: float
    squares: float
    counts: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Picture:
    """A colour picture as the bytes of a PNG file."""

    height: int
    width: int
    png: bytes


Value = float | Histogram | Picture


def encode_values(values: Mapping[str, Value], *, step: int, time: float) -> bytes:
    """One message with all values of a step, by tag.

    Args:
        values: Numbers become points of a curve; they may be infinite or not a number.
        step: At least 0.
        time: Seconds since the epoch.
    """
    summary = b"".join(_field(1, _field(1, tag.encode()) + _value(value)) for tag, value in values.items())
    return _head(step, time) + _field(5, summary)


def encode_version(*, time: float) -> bytes:
    """The message that a file begins with."""
    return _double(1, time) + _field(3, FILE_VERSION)


def encode_start(*, step: int, time: float) -> bytes:
    """The message that makes readers forget whatever came before it at `step` or later."""
    return _head(step, time) + _field(7, _integer(1, _SESSION_START))


def decode_step(message: bytes) -> tuple[int, bool] | None:
    """The step of a message, and whether it is one of `encode_start`; None for one of `encode_version`."""
    if len(message) < 10 or message[9] != _key(2, _VARINT):
        return None
    step, position = 0, 10
    while True:
        byte = message[position]
        step |= (byte & 0x7F) << (7 * (position - 10))
        position += 1
        if byte < 0x80:
            break
    return step, message[position] == _key(7, _BYTES)


def _head(step: int, time: float) -> bytes:
    # The step is written even where it is 0, so that `decode_step` finds it at one place.
    return _double(1, time) + _integer(2, step)


def _value(value: Value) -> bytes:
    if isinstance(value, Histogram):
        return _field(5, _histogram(value))
    if isinstance(value, Picture):
        picture = _integer(1, value.height) + _integer(2, value.width) + _integer(3, _RGB)
        return _field(4, picture + _field(4, value.png))
    with np.errstate(over="ignore"):  # beyond single precision lies infinity
        return bytes([_key(2, _FLOAT)]) + np.asarray(value, "<f4").tobytes()


def _histogram(histogram: Histogram) -> bytes:
    counts = np.asarray(histogram.counts, "<f8")
    rights = np.linspace(histogram.low, histogram.high, len(counts) + 1, dtype="<f8")[1:]
    return (
        _double(1, histogram.low)
        + _double(2, histogram.high)
        + _double(3, float(counts.sum()))
        + _double(4, histogram.total)
        + _double(5, histogram.squares)
        + _field(6, rights.tobytes())
        + _field(7, counts.tobytes())
    )


def _key(number: int, kind: int) -> int:
    return number << 3 | kind


def _varint(number: int) -> bytes:
    data = bytearray()
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def _integer(number: int, value: int) -> bytes:
    return bytes([_key(number, _VARINT)]) + _varint(value)


def _double(number: int, value: float) -> bytes:
    return bytes([_key(number, _DOUBLE)]) + struct.pack("<d", value)


def _field(number: int, data: bytes) -> bytes:
    return bytes([_key(number, _BYTES)]) + _varint(len(data)) + data
