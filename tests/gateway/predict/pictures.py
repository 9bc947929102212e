"""Pictures for tests, and the corpus of hostile ones: each with the code that it is refused with."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from services.gateway.predict.image_headers import MOST_CHUNKS
from services.gateway.predict.images import ImageLimits

LIMITS = ImageLimits()


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int = 8, height: int = 8, mode: str = "RGB") -> Image.Image:
    random = np.random.default_rng(1)
    channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}[mode]
    return Image.fromarray(
        random.integers(0, 256, (height, width, *channels), np.uint8), mode=None if mode != "CMYK" else "CMYK"
    )


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND")


def blank(width: int, height: int) -> bytes:
    """A valid PNG of one colour: huge once decoded, tiny before."""
    return png(width, height, chunk(b"IDAT", zlib.compress(b"\x00" * ((width * 3 + 1) * height), 9)))


def animated(kind: str) -> bytes:
    return encoded(noise(), kind, save_all=True, append_images=[noise(mode="L").convert("RGB")], duration=100)


def many_scans() -> bytes:
    data = encoded(noise(64, 64), "JPEG", progressive=True)
    at = data.rfind(b"\xff\xda")
    return data[:-2] + data[at:-2] * 100 + data[-2:]


def sized(jpeg: bytes, width: int, height: int) -> bytes:
    """The same JPEG, but its frame says that it is of another size."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def turned(image: Image.Image, kind: str, orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, kind, exif=exif)


def deep(width: int, height: int) -> bytes:
    """A PNG of 16 bits a channel that says how large it is."""
    return png(width, height, chunk(b"IDAT", zlib.compress(bytes(6 * 64 + 8))), depth=16)


def wide_webp() -> bytes:
    """A WebP that says that it is 16,383 pixels a side."""
    data = encoded(noise(), "WEBP", lossless=True)
    at = data.index(b"VP8L") + 9
    return data[:at] + struct.pack("<I", 16_382 | 16_382 << 14) + data[at + 4 :]


HOSTILE = {
    "nothing": (b"", "image_format"),
    "text": (b"no picture at all", "image_format"),
    "gif": (encoded(noise().convert("P"), "GIF"), "image_format"),
    "bmp": (encoded(noise(), "BMP"), "image_format"),
    "tiff": (encoded(noise(), "TIFF"), "image_format"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_format"),
    "png signature alone": (b"\x89PNG\r\n\x1a\n", "image_truncated"),
    "png cut in its pixels": (encoded(noise(64, 64))[:-100], "image_truncated"),
    "png without its end": (encoded(noise())[:-12], "image_truncated"),
    "png with a flipped bit": (encoded(noise())[:60] + b"\x00" + encoded(noise())[61:], "image_corrupt"),
    "png without pixels": (png(8, 8), "image_corrupt"),
    "png with too few pixels": (png(8, 8, chunk(b"IDAT", zlib.compress(b"\x00" * 20))), "image_corrupt"),
    "png of pixels that are not zlib": (png(8, 8, chunk(b"IDAT", b"nonsense")), "image_corrupt"),
    "png of no width": (png(0, 8, chunk(b"IDAT", zlib.compress(b""))), "image_corrupt"),
    "png of unknown colours": (png(8, 8, chunk(b"IDAT", zlib.compress(b"")), colour=5), "image_corrupt"),
    "png of very many chunks": (png(8, 8, *[chunk(b"tEXt")] * (MOST_CHUNKS + 1)), "image_corrupt"),
    "png bomb": (blank(4_200, 4_200), "image_too_large"),
    "png of 2^31 pixels a side": (png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", b"")), "image_too_large"),
    "png of one pixel by 65535": (blank(1, 65_535), "image_too_large"),
    "jpeg of one pixel by 65535": (encoded(Image.new("RGB", (1, 65_500)), "JPEG"), "image_too_large"),
    "jpeg cut in its pixels": (encoded(noise(64, 64), "JPEG")[:-200], "image_truncated"),
    "jpeg cut in its header": (encoded(noise(64, 64), "JPEG")[:100], "image_truncated"),
    "jpeg of padding": (b"\xff\xd8" + b"\xff" * 1_000_000, "image_corrupt"),
    "jpeg of segments": (b"\xff\xd8" + b"\xff\xe1\x00\x02" * 1_000_000, "image_corrupt"),
    "jpeg of markers": (b"\xff\xd8" + b"\xff\xd0" * 1_000_000, "image_corrupt"),
    "jpeg of many scans": (many_scans(), "image_corrupt"),
    "webp cut": (encoded(noise(64, 64), "WEBP")[:-50], "image_truncated"),
    "webp of nothing": (b"RIFF\x20\x00\x00\x00WEBP" + b"\x00" * 40, "image_corrupt"),
    "png bomb of sixteen bits": (deep(6_000, 6_000), "image_too_large"),
    "png of sixteen bits cut in its pixels": (deep(8, 8)[:-30], "image_truncated"),
    "png of sixteen bits with too few pixels": (deep(64, 64), "image_corrupt"),
    "png bomb that is turned": (
        png(6_000, 6_000, chunk(b"eXIf", b"II*\x00"), chunk(b"IDAT", zlib.compress(b""))),
        "image_too_large",
    ),
    "jpeg bomb": (sized(encoded(noise(), "JPEG"), 65_500, 65_500), "image_too_large"),
    "jpeg of 65535 by one pixel that is turned": (turned(Image.new("RGB", (65_500, 1)), "JPEG"), "image_too_large"),
    "jpeg that is turned and cut": (turned(noise(64, 64), "JPEG")[:-200], "image_truncated"),
    "cmyk jpeg bomb": (sized(encoded(noise(mode="CMYK"), "JPEG"), 20_000, 20_000), "image_too_large"),
    "cmyk jpeg cut in its pixels": (encoded(noise(64, 64, "CMYK"), "JPEG")[:-200], "image_truncated"),
    "webp bomb": (wide_webp(), "image_too_large"),
    "animated png": (animated("PNG"), "image_animated"),
    "animated webp": (animated("WEBP"), "image_animated"),
    "too many bytes": (b"\x89PNG\r\n\x1a\n" + bytes(LIMITS.bytes), "image_too_large"),
}
