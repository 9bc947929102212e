"""TensorBoard's event files: `events.out.tfevents.<number>.tandem`, records one after another.

    record: length (uint64), masked CRC-32C of the length, message, masked CRC-32C of the message   (little-endian)

A folder has one file, however often its writer comes back: it appends. What a killed writer tore off at the
end is cut away first, since readers stop at it. Whole records are never cut away, since somebody may be reading: a
record that says from which step on everything before it is void does that (`shared.summaries.encode_start`).

Not promised: that the newest records survive a crash of the machine. They are only looked at; nothing waits for them.
"""

import os
import re
import struct
import time as system_time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from shared import atomic
from shared.summaries import decode_step, encode_start, encode_version

_NAME = re.compile(r"events\.out\.tfevents\.([0-9]{10})\.tandem", re.ASCII)
_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")
# A crash of the machine can spoil what the system had not yet written out, which lies at the end.
_DOUBTFUL_BYTES = 2**20


class EventFile:
    """Appends to the one event file of a folder. Nothing is touched before the first `append`. Not thread-safe.

    Args:
        folder: Where the file lies.
        void_from: Whatever the file holds already of this step and later ones is void. None: nothing is.
        time: Seconds since the epoch.
        within: A folder above it that is not made when it is missing; see `make_folder`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        void_from: int | None = None,
        time: Callable[[], float] = system_time.time,
        within: Path | None = None,
    ) -> None:
        self._folder = folder
        self._within = within
        self._void_from = void_from
        self._time = time
        self._file: BinaryIO | None = None

    def append(self, *messages: bytes) -> None:
        """Appends messages of `shared.summaries.encode_values`, a record each.

        Raises:
            OSError: Some are not there, or torn; the next append mends the file.
        """
        try:
            file = self._file = self._file or self._open()
            _write(file, b"".join(map(frame, messages)))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file; a later append opens it again."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _open(self) -> BinaryIO:
        path = newest_file(self._folder) or new_path(self._folder, time=self._time)
        atomic.make_folder(self._folder, within=self._within)
        file = path.open("a+b", buffering=0)
        try:
            size = whole_bytes(file)
            if size < file.seek(0, os.SEEK_END):
                file.truncate(size)
            if not size:
                _write(file, frame(encode_version(time=self._time())))
            elif self._void_from is not None:
                _write(file, frame(encode_start(step=self._void_from, time=self._time())))
            self._void_from = None
        except BaseException:
            file.close()
            raise
        return file


def newest_file(folder: Path) -> Path | None:
    """The event file that readers come to last, or None."""
    try:
        return max((entry for entry in folder.iterdir() if _NAME.fullmatch(entry.name)), default=None)
    except FileNotFoundError:
        return None


def new_path(folder: Path, *, time: Callable[[], float] = system_time.time) -> Path:
    """A path in `folder` that readers come to after all that are there, even if the clock was set back."""
    newest = newest_file(folder)
    match = _NAME.fullmatch(newest.name) if newest else None
    number = max(int(time()), int(match.group(1)) + 1 if match else 0)
    return folder / f"events.out.tfevents.{number:010d}.tandem"


def replace_events(folder: Path, messages: Iterable[bytes], *, time: Callable[[], float] = system_time.time) -> None:
    """Makes one new file that voids all that a folder holds.

    The newest of the old ones stays until the next time: TensorBoard would look for it for ever, and must find it to
    move on to the new one.

    Raises:
        OSError: The old ones stand, perhaps beside the new one.
    """
    old = sorted(entry for entry in folder.iterdir() if _NAME.fullmatch(entry.name))
    head = [encode_version(time=time()), encode_start(step=0, time=time())]
    atomic.replace_file(new_path(folder, time=time), b"".join(map(frame, [*head, *messages])))
    for path in old[:-1]:
        atomic.remove_file(path)


def value_messages(path: Path) -> dict[int, bytes]:
    """The messages with values in a small file, by step, without those that a later message voids."""
    found: dict[int, bytes] = {}
    data = path.read_bytes()
    position = 0
    while (end := _record_end(data, position)) is not None:
        message = data[position + _HEADER.size : end - _CRC.size]
        if (decoded := decode_step(message)) is not None:
            step, starts = decoded
            if starts:
                found = {other: kept for other, kept in found.items() if other < step}
            else:
                found[step] = message
        position = end
    return found


def frame(message: bytes) -> bytes:
    """A message as a record."""
    length = struct.pack("<Q", len(message))
    return length + _CRC.pack(masked_crc(length)) + message + _CRC.pack(masked_crc(message))


def whole_bytes(file: BinaryIO) -> int:
    """Up to where a file consists of whole records."""
    size = file.seek(0, os.SEEK_END)
    position = 0
    while True:
        file.seek(position)
        header = file.read(_HEADER.size)
        length = _length(header)
        if length is None:
            return position
        end = position + _HEADER.size + length + _CRC.size
        if end > size:
            return position
        if end > size - _DOUBTFUL_BYTES and _record_end(header + file.read(length + _CRC.size), 0) is None:
            return position
        position = end


def masked_crc(data: bytes) -> int:
    """CRC-32C (Castagnoli), turned and shifted as these files want it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _record_end(data: bytes, position: int) -> int | None:
    length = _length(data[position : position + _HEADER.size])
    if length is None:
        return None
    start = position + _HEADER.size
    crc = data[start + length : start + length + _CRC.size]
    whole = len(crc) == _CRC.size and masked_crc(data[start : start + length]) == _CRC.unpack(crc)[0]
    return start + length + _CRC.size if whole else None


def _length(header: bytes) -> int | None:
    if len(header) < _HEADER.size:
        return None
    length, crc = _HEADER.unpack(header)
    return int(length) if masked_crc(header[:8]) == crc else None


def _write(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _table_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = tuple(map(_table_entry, range(256)))
