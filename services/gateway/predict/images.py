"""Pictures from strangers become the model's input, or are refused with a stable code.

Refused before a pixel is decoded: other formats than PNG, JPEG and WebP (told by content, not by name), too many bytes
or pixels, too long a side, truncated ones, animated ones. What is taken is made RGB and brought to the model's sides:

- The picture is turned as its EXIF orientation says.
- The largest centred window of the model's aspect ratio is scaled to the model's sides, with antialiasing. Nothing is
  stretched: the classes were learnt in their own proportions. A picture of exactly the model's sides is not touched.
- What is transparent lies on white. 16 bits become 8 by dropping the lower ones; CMYK becomes RGB by the plain
  formula; colour profiles are not applied.
"""

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from services.gateway.predict.image_headers import ImageHeader, read_header
from shared.errors import ImageCorruptError, ImageError, ImageFormatError, ImageTooLargeError

Pixels = npt.NDArray[np.uint8]

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = frozenset({5, 6, 7, 8})
_DECODERS: Mapping[str, Callable[[io.BytesIO], Image.Image]] = {
    "png": PngImageFile,
    "jpeg": JpegImageFile,
    "webp": WebPImageFile,
}


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """The largest picture that is taken: bytes as sent, pixels, and pixels of a side."""

    bytes: int = 10 * 2**20
    pixels: int = 2**24
    side: int = 2**14


def inspect_image(data: bytes, *, limits: ImageLimits) -> ImageHeader:
    """The header of a picture that is within the limits; nothing is decoded. Raises like `decode_image`."""
    if len(data) > limits.bytes:
        raise ImageTooLargeError(f"is {len(data):,} bytes long; {limits.bytes:,} are taken", hint="Scale it down")
    header = read_header(data)
    if max(header.width, header.height) > limits.side or header.width * header.height > limits.pixels:
        raise ImageTooLargeError(
            f"is {header.width}x{header.height} pixels; {limits.pixels:,} are taken, and {limits.side:,} a side",
            hint="Scale it down",
        )
    return header


def decode_image(header: ImageHeader, *, height: int, width: int) -> Pixels:
    """A picture as the model takes it. Safe from several threads.

    Args:
        header: From `inspect_image`.
        height: Of the model's input, in pixels.
        width: Likewise.

    Returns:
        uint8 of shape [height, width, 3], RGB.

    Raises:
        ImageError: It is refused; `code` says why.
    """
    try:
        if header.plain is not None and (header.width, header.height) == (width, height):
            with contextlib.suppress(ValueError, OSError):  # what is wrong with it the whole decoder says
                image = Image.frombytes("RGB", (width, height), header.plain, "zip", "RGB", 0)
                return np.frombuffer(image.tobytes(), np.uint8).reshape(height, width, 3)
        with _DECODERS[header.format](io.BytesIO(header.data)) as image:
            if image.size != (header.width, header.height):
                raise ImageCorruptError("contradicts itself about its size")
            return _decoded(image, height, width)
    except ImageError:
        raise
    # A decoder fed by strangers may raise anything at all; each of it means that there is no picture.
    except Exception as error:
        raise ImageCorruptError(f"cannot be decoded ({type(error).__name__})") from error


def _decoded(image: Image.Image, height: int, width: int) -> Pixels:
    if isinstance(image, JpegImageFile) and min(image.width // width, image.height // height) >= 4:
        # JPEG decodes straight to an eighth, quarter or half: keep at least twice the sides that the window needs.
        scale = 2 * max(width / image.width, height / image.height)
        image.draft(None, (int(image.width * scale) + 1, int(image.height * scale) + 1))
    image.load()
    orientation = _orientation(image) if "exif" in image.info else 1
    image = _without_palette(image)
    size = (height, width) if orientation in _LYING else (width, height)
    if image.size != size:
        # Cut before it is scaled, so that nothing from outside of the window bleeds into its border.
        image = image.crop(_window(image.size, size)).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        image = white
    elif image.mode != "RGB":
        image = image.convert("RGB")
    return np.frombuffer(image.tobytes(), np.uint8).reshape(height, width, 3)


def _without_palette(image: Image.Image) -> Image.Image:
    """The picture in a mode that can be scaled: L, RGB, RGBA or CMYK."""
    if image.mode in ("I;16", "I;16B", "I"):
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("PA", "LA") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("P", "1"):
        return image.convert("RGB")
    if image.mode in ("L", "RGB", "RGBA", "CMYK"):
        return image
    raise ImageFormatError(f"has pixels of the kind {image.mode}", hint="Convert it to RGB")


def _orientation(image: Image.Image) -> int:
    with contextlib.suppress(Exception):  # a broken note about the picture does not make the picture worthless
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _window(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest centred box of `size` that has the aspect ratio of `target`: left, top, right, bottom."""
    width = max(1, min(size[0], round(size[1] * target[0] / target[1])))
    height = max(1, min(size[1], round(size[0] * target[1] / target[0])))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height
