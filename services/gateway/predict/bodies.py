"""From a request's body to the images that a model takes, or an error that names the field.

| content type | body |
| --- | --- |
| image/png, image/jpeg, image/webp, image/* | one picture; its content tells the format |
| application/json | {"instances": [HxWx3 nested integers from 0 to 255, or {"b64": "<a picture in base64>"}, …]} |
| multipart/form-data | files, each of them a picture |
| application/octet-stream | uint8 of shape HxWx3 or nxHxWx3 as it lies in memory; `shape=` or the length says which |
| none, or that of curl -d | a picture or JSON, whichever it begins as |
"""

import base64
import binascii
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic_core

from services.gateway.predict.image_headers import looks_like_image
from services.gateway.predict.images import ImageLimits, decode_image, inspect_image
from services.gateway.predict.models import Images
from services.gateway.predict.multipart import MULTIPART, files
from shared.errors import ImageError, ImageTooLargeError, InstancesError, MediaTypeError

JSON = "application/json"
RAW = "application/octet-stream"
_UNSAID = frozenset({"", "application/x-www-form-urlencoded"})

Shape = tuple[int, int, int]


def media_type(content_type: str, body: bytes) -> str:
    """What the body is to be read as: `JSON`, `RAW`, `MULTIPART` or `image`.

    Raises:
        MediaTypeError: It is nothing that is read.
    """
    named = content_type.partition(";")[0].strip().lower()
    if named in (JSON, RAW, MULTIPART):
        return named
    if named.startswith("image/") or (named in _UNSAID and looks_like_image(body)):
        return "image"
    if named in _UNSAID and body[:80].lstrip().startswith(b"{"):
        return JSON
    raise MediaTypeError(
        f"{named or 'a body without a content type'} is not read",
        where="content-type",
        hint=f"Send image/png, image/jpeg, image/webp, {JSON}, {MULTIPART} or {RAW}",
    )


@dataclass(frozen=True, kw_only=True)
class BodyReader:
    """Reads bodies for models of any input shape.

    Args:
        limits: Of each picture; the pictures of one body together are held to the same number of pixels.
        most_instances: In one body.
    """

    limits: ImageLimits
    most_instances: int

    def raw(self, body: bytes, *, shape: str | None, input_shape: Shape) -> Images:
        """Images from raw uint8.

        Args:
            body: The bytes of the tensor, last axis fastest.
            shape: The query's `shape`: `H,W,3` or `n,H,W,3`; None: the length says how many.
            input_shape: Height, width and channels of the model's input.

        Returns:
            uint8 of shape [n, height, width, 3].

        Raises:
            InstancesError: It is no whole number of the model's inputs, or too many.
        """
        size = math.prod(input_shape)
        count, rest = divmod(len(body), size)
        if rest or not count:
            raise InstancesError(
                f"is {len(body)} bytes long, no whole number of {_times(input_shape)} = {size} bytes",
                where="body",
                hint=_FILE if looks_like_image(body) else None,
            )
        if shape is not None:
            self._check_shape(shape, count, input_shape)
        self.check_count(count, where="body")
        return np.frombuffer(body, np.uint8).reshape(count, *input_shape)

    def json(self, body: bytes, *, input_shape: Shape) -> Images:
        """Images from JSON. Raises InstancesError or ImageError, with the field's path; otherwise like `raw`."""
        try:
            values = pydantic_core.from_json(body)
        except ValueError as error:
            raise InstancesError(f"is not JSON: {error}", where="body") from error
        if not isinstance(values, dict) or "instances" not in values:
            raise InstancesError("is missing", where="instances", hint='The body is {"instances": [...]}')
        if len(values) > 1:
            unknown = next(key for key in values if key != "instances")
            raise InstancesError("is not known", where=unknown[:80], hint='The body is {"instances": [...]}')
        return self.instances(values["instances"], where="instances", input_shape=input_shape, body=body)

    def instances(self, instances: Any, *, where: str, input_shape: Shape, body: bytes) -> Images:
        """Images from parsed JSON: a list of nested integers and of {"b64": "<a picture>"}.

        Args:
            instances: As parsed.
            where: The path of the field.
            input_shape: Height, width and channels of the model's input.
            body: What was parsed.
        """
        if not isinstance(instances, list) or not instances:
            raise InstancesError("is not a list of at least one instance", where=where)
        self.check_count(len(instances), where=where)
        images = np.empty((len(instances), *input_shape), np.uint8)
        pixels = self.limits.pixels
        # NumPy takes truth values among integers for integers; only a look at each value tells them apart.
        suspicious = b"true" in body or b"false" in body
        for index, instance in enumerate(instances):
            path = f"{where}.{index}"
            if isinstance(instance, dict):
                images[index], used = self._encoded(instance, path, input_shape, pixels)
                pixels -= used
            else:
                if suspicious:
                    _find_misfit(instance, path, input_shape)
                images[index] = _nested(instance, path, input_shape)
        return images

    def check_count(self, count: int, *, where: str) -> None:
        """Raises InstancesError if these are more pictures than are taken at once."""
        if count > self.most_instances:
            raise InstancesError(
                f"holds {count} instances; {self.most_instances} are taken at once",
                where=where,
                hint="Send them in several requests",
            )

    def multipart(self, body: bytes, *, content_type: str, input_shape: Shape) -> Images:
        """Images from the files of a form. Raises like `json`."""
        pictures = files(body, content_type, most=self.most_instances)
        images = np.empty((len(pictures), *input_shape), np.uint8)
        pixels = self.limits.pixels
        for index, data in enumerate(pictures):
            images[index], used = self._decoded(data, f"body.{index}", input_shape, pixels)
            pixels -= used
        return images

    def _encoded(self, instance: dict[str, Any], path: str, input_shape: Shape, pixels: int) -> tuple[Images, int]:
        text = instance.get("b64")
        if not isinstance(text, str) or len(instance) != 1:
            raise InstancesError('is not {"b64": "<a picture in base64>"}', where=path)
        return self._decoded(_from_base64(text, f"{path}.b64"), f"{path}.b64", input_shape, pixels)

    def _decoded(self, data: bytes, where: str, input_shape: Shape, pixels: int) -> tuple[Images, int]:
        """A picture and how many pixels it had, of which `pixels` are allowed."""
        try:
            header = inspect_image(data, limits=self.limits)
            if header.width * header.height > pixels:
                raise ImageTooLargeError(f"and those before it have more than {self.limits.pixels:,} pixels together")
            return decode_image(header, height=input_shape[0], width=input_shape[1]), header.width * header.height
        except ImageError as error:
            error.where = where
            raise

    def _check_shape(self, shape: str, count: int, input_shape: Shape) -> None:
        taken = [(count, *input_shape)] + ([input_shape] if count == 1 else [])
        # Compared as text, so that no number from outside is ever converted.
        if shape.replace(" ", "") not in {",".join(map(str, option)) for option in taken}:
            raise InstancesError(
                f"{shape[:80]!r} does not fit: the model takes [n,]{','.join(map(str, input_shape))}, "
                f"and the body holds {count}",
                where="shape",
            )


def _from_base64(text: str, where: str) -> bytes:
    """What stands in base64, also in lines or without what fills the last four characters up."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        compact = "".join(text.split())
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        hint = "Leave out what stands before the comma" if text.startswith("data:") else None
        raise InstancesError(f"is not base64: {error}", where=where, hint=hint) from error


def _nested(instance: Any, path: str, shape: Shape) -> Images:
    """One image from nested lists: the fast way for what is right, the slow one to say what is wrong."""
    try:
        array = np.asarray(instance)
    except (ValueError, OverflowError, TypeError):
        array = np.empty(0)
    if array.shape == shape and array.dtype == np.int64 and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    _find_misfit(instance, path, shape)
    raise InstancesError(f"is no image of {_times(shape)} integers from 0 to 255", where=path)


def _find_misfit(value: Any, path: str, shape: tuple[int, ...]) -> None:
    if not shape:
        if type(value) is not int or not 0 <= value <= 255:
            hint = _AS_THEY_ARE if isinstance(value, float) else None
            raise InstancesError(f"is {shown(value)}, not an integer from 0 to 255", where=path, hint=hint)
        return
    if not isinstance(value, list):
        raise InstancesError(f"is {shown(value)}, not a list of {shape[0]}", where=path, hint=_HINT)
    if len(value) != shape[0]:
        raise InstancesError(f"has {len(value)} entries instead of {shape[0]}", where=path, hint=_HINT)
    for index, part in enumerate(value):
        _find_misfit(part, f"{path}.{index}", shape[1:])


_HINT = 'Nested lists have the model\'s own shape; a picture of any size is {"b64": "<its file in base64>"}'
_AS_THEY_ARE = "Pixels are sent as they are, not divided by 255"
_FILE = ":classify takes a picture's file as image/png, image/jpeg or image/webp"
_KINDS = {dict: "a mapping", type(None): "null", int: "a number out of range", list: "a list"}


def shown(value: Any) -> str:
    """A value from outside as an error names it, never long."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else f"{value[:40]}…")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) or (type(value) is int and abs(value) < 10**15):
        return str(value)
    return _KINDS[type(value)]


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
