"""What a picture says about itself before anything of it is decoded: format, sides, frames, and whether it is whole.

Costs microseconds and no memory, whatever the bytes are. The formats are told by their first bytes alone.

- PNG (W3C, third edition): every chunk up to IEND, with its CRC.
- JPEG (ITU-T T.81, annex B): the segments up to the frame header, the number of scans, and the end marker.
- WebP (RFC 9649): the RIFF length, and the first chunk.
"""

import zlib
from dataclasses import dataclass
from typing import Literal

from shared.errors import (
    ImageAnimatedError,
    ImageCorruptError,
    ImageFormatError,
    ImageTruncatedError,
)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"

# Real files have about one chunk for 8 kB and ten scans; a file of tiny ones is made to cost time.
MOST_CHUNKS = 4096
MOST_SEGMENTS = 1024
MOST_SCANS = 32

_COMPRESSED_TEXT = frozenset({b"zTXt", b"iTXt", b"iCCP"})
# Depth, colour type, compression, filter and interlacing of the simplest PNG, and what makes one less simple.
_PLAIN_RGB = b"\x08\x02\x00\x00\x00"
_MEANINGFUL = frozenset({b"tRNS", b"eXIf", b"PLTE"})
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN = b"\xff\xda"
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What is known before decoding.

    Attributes:
        format: Of the file.
        width: In pixels.
        height: In pixels.
        data: The bytes to hand to the decoder, without what could be a bomb of its own.
        plain: The packed pixels of a PNG of 8-bit RGB, line by line, neither turned nor transparent; else None.
    """

    format: Literal["png", "jpeg", "webp"]
    width: int
    height: int
    data: bytes
    plain: bytes | None = None


def looks_like_image(data: bytes) -> bool:
    """Whether the first bytes are those of a format that is read."""
    return data.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def read_header(data: bytes) -> ImageHeader:
    """The header of a picture.

    Raises:
        ImageFormatError: It is neither PNG, JPEG nor WebP.
        ImageTruncatedError: It ends too early.
        ImageCorruptError: It contradicts its format.
        ImageAnimatedError: It has several frames.
    """
    if data.startswith(PNG_SIGNATURE):
        header = _png(data)
    elif data.startswith(JPEG_SIGNATURE):
        header = _jpeg(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        header = _webp(data)
    else:
        raise ImageFormatError("is neither PNG, JPEG nor WebP", hint="Convert it to one of these")
    if not header.width or not header.height:
        raise ImageCorruptError(f"says that it is {header.width}x{header.height} pixels")
    return header


def _png(data: bytes) -> ImageHeader:
    if len(data) < 33:
        raise ImageTruncatedError("ends inside of its header")
    if data[8:16] != b"\x00\x00\x00\rIHDR":
        raise ImageCorruptError("does not begin with IHDR")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    view, at = memoryview(data), len(PNG_SIGNATURE)
    kept: list[bytes | memoryview] = [PNG_SIGNATURE]
    dropped = False
    pixels: list[memoryview] = []
    plain = data[24:29] == _PLAIN_RGB
    for _ in range(MOST_CHUNKS):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data) or len(kind) < 4:
            raise ImageTruncatedError("ends inside of a chunk")
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageCorruptError("has a chunk that does not match its checksum")
        if kind == b"acTL":
            raise ImageAnimatedError("is animated", hint="Send one frame of it")
        if kind == b"IDAT":
            pixels.append(view[at + 8 : end - 4])
        elif kind in _MEANINGFUL:
            plain = False
        if kind in _COMPRESSED_TEXT:
            dropped = True
        else:
            kept.append(view[at:end])
        if kind == b"IEND":
            if not pixels:
                raise ImageCorruptError("has no pixels")
            kept_data = b"".join(kept) if dropped else data
            return ImageHeader("png", width, height, kept_data, b"".join(pixels) if plain else None)
        at = end
    raise ImageCorruptError(f"has more than {MOST_CHUNKS} chunks")


def _jpeg(data: bytes) -> ImageHeader:
    at = 2
    for _ in range(MOST_SEGMENTS):
        while data[at : at + 2] == b"\xff\xff":
            at += 1
            if at > 4096:
                raise ImageCorruptError("is padded instead of being a picture")
        if at + 4 > len(data):
            raise ImageTruncatedError("ends before its frame")
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at] != 0xFF or marker in (0xD9, 0xDA):
            raise ImageCorruptError("has no frame before its pixels")
        if marker in _STANDALONE:
            at += 2
            continue
        if marker in _FRAMES:
            return _jpeg_frame(data, at)
        if length < 2:
            raise ImageCorruptError("has a segment of impossible length")
        at += 2 + length
    raise ImageCorruptError(f"has more than {MOST_SEGMENTS} segments")


def _jpeg_frame(data: bytes, at: int) -> ImageHeader:
    if at + 9 > len(data):
        raise ImageTruncatedError("ends inside of its frame header")
    if data.find(_END_OF_IMAGE, at) < 0:
        raise ImageTruncatedError("has no end")
    if data.count(_START_OF_SCAN, at) > MOST_SCANS:
        raise ImageCorruptError(f"has more than {MOST_SCANS} scans")
    height, width = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
    return ImageHeader("jpeg", width, height, data)


def _webp(data: bytes) -> ImageHeader:
    if len(data) < 30 or int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise ImageTruncatedError("is shorter than it says")
    kind = data[12:16]
    if kind == b"VP8X":
        if data[20] & 0x02:
            raise ImageAnimatedError("is animated", hint="Send one frame of it")
        width, height = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    elif kind == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width = int.from_bytes(data[26:28], "little") & 0x3FFF
        height = int.from_bytes(data[28:30], "little") & 0x3FFF
    else:
        raise ImageCorruptError("has no pixels")
    return ImageHeader("webp", width, height, data)
