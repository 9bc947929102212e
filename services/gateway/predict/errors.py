"""The errors of predicting, below the classes of `shared.errors`, and the HTTP status of each.

ImageError
├── ImageFormatError      415  neither PNG, JPEG nor WebP, whatever its name says
├── ImageTooLargeError    413  more bytes, pixels or a longer side than is taken
├── ImageTruncatedError   422  it ends too early
├── ImageCorruptError     422  it cannot be decoded
└── ImageAnimatedError    422  it has several frames, and which one is meant is unknown
InputError
├── InstancesError        422  instances, a shape or an argument that does not fit the model (field path in `where`)
├── BodyTooLargeError     413
├── BodyTimeoutError      408  the body did not arrive in time
└── MediaTypeError        415
UnavailableError          503
├── OverloadedError       429  too many pictures wait already
└── DeadlineError         504  no answer in time
InferenceError            500  the model failed on this input
└── NotFiniteError        500  the model answered with a number that is none; it is never passed on
VolumeError
└── CorruptExportError    500  an export that does not match its manifest, or does not work; the next best serves
"""

from collections.abc import Mapping

from shared.errors import (
    ImageError,
    InputError,
    TandemError,
    UnavailableError,
    VolumeError,
)


class ImageFormatError(ImageError):
    """Neither PNG, JPEG nor WebP."""

    code = "image_format"


class ImageTooLargeError(ImageError):
    """More bytes, pixels or a longer side than is taken."""

    code = "image_too_large"


class ImageTruncatedError(ImageError):
    """The picture ends too early."""

    code = "image_truncated"


class ImageCorruptError(ImageError):
    """The picture cannot be decoded."""

    code = "image_corrupt"


class ImageAnimatedError(ImageError):
    """The picture has several frames."""

    code = "image_animated"


class InstancesError(InputError):
    """Instances, a shape or an argument that does not fit the model; `where` is the field's path."""

    code = "bad_instances"


class BodyTooLargeError(InputError):
    """The body is longer than is taken."""

    code = "body_too_large"


class BodyTimeoutError(InputError):
    """The body did not arrive in time."""

    code = "body_timeout"


class MediaTypeError(InputError):
    """The content type is none that is read."""

    code = "unsupported_media_type"


class OverloadedError(UnavailableError):
    """As many pictures wait as may wait."""

    code = "overloaded"


class DeadlineError(UnavailableError):
    """There was no answer in time."""

    code = "deadline_exceeded"


class InferenceError(TandemError):
    """The model failed on this input."""

    code = "inference_failed"


class NotFiniteError(InferenceError):
    """The model answered with a number that is none."""

    code = "not_finite"


class CorruptExportError(VolumeError):
    """An export does not match its manifest, or does not work."""

    code = "corrupt_export"


# Joined with the gateway's own table in `services.gateway.errors`.
STATUSES: Mapping[type[TandemError], int] = {
    ImageFormatError: 415,
    ImageTooLargeError: 413,
    ImageTruncatedError: 422,
    ImageCorruptError: 422,
    ImageAnimatedError: 422,
    InstancesError: 422,
    BodyTooLargeError: 413,
    BodyTimeoutError: 408,
    MediaTypeError: 415,
    OverloadedError: 429,
    DeadlineError: 504,
    InferenceError: 500,
}
