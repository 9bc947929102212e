"""The tree of errors that tandem raises on purpose.

    TandemError
    ├── InputError                 what somebody handed in is wrong; nothing was changed
    │   ├── SpecError              a run's specification (field path in `where`)
    │   ├── SettingsError          an environment variable or a command line flag
    │   ├── ImageError             a picture that is none, or is over a limit
    │   │   ├── ImageFormatError       neither PNG, JPEG nor WebP, whatever its name says
    │   │   ├── ImageTooLargeError     more bytes, pixels or a longer side than is taken
    │   │   ├── ImageTruncatedError    it ends too early
    │   │   ├── ImageCorruptError      it cannot be decoded
    │   │   └── ImageAnimatedError     it has several frames, and which one is meant is unknown
    │   ├── InstancesError         instances, a shape or an argument that does not fit the model (field path in `where`)
    │   ├── BodyTooLargeError      a request's body is longer than is taken
    │   ├── BodyTimeoutError       a request's body did not arrive in time
    │   └── MediaTypeError         a request's content type is none that is read
    ├── DatasetError               a data set cannot be used
    │   ├── DatasetMissingError    files are not there (what was looked for, how to put them in place)
    │   ├── DatasetCorruptError    files are there and wrong (size, label, checksum)
    │   └── DownloadError          the download failed (what was tried)
    ├── VolumeError                something on the volume cannot be used
    │   ├── CorruptRecordError     a record that is not what its schema says
    │   ├── UnknownSchemaError     a record of a schema version this release does not know
    │   ├── CorruptCheckpointError a checkpoint whose files do not match its manifest
    │   ├── NoGoodCheckpointError  checkpoints are there, and none of them is good
    │   ├── CorruptExportError     an export that does not match its manifest, or does not work
    │   ├── NotWritableError       a folder that must be written to cannot be
    │   └── FencedError            another writer has taken over; this one must not commit any more
    ├── NotFoundError              no such run, checkpoint, evaluation, model
    ├── ConflictError              it exists, and its state does not allow this
    ├── AccessError                who asks may not
    │   ├── UnauthenticatedError   no key, or none that is known
    │   └── ForbiddenError         the key does not open this
    ├── UnavailableError           not now: no model yet, no slot, an engine that is away; worth a retry
    │   ├── OverloadedError        as much waits as may wait
    │   ├── RateLimitedError       this client asks more often than it may
    │   └── DeadlineError          there was no answer in time
    ├── InferenceError             a model failed on this input
    │   └── NotFiniteError         it answered with a number that is none, which is never passed on
    └── DivergedError              the loss or a weight is no longer a finite number

Every error says three things to the person who reads it: what was wrong (`message`), where (`where`: a field path, a
file, a run) and what to do (`hint`). The gateway maps classes to HTTP statuses in one table; `code` is the stable name
that programs match on.
"""

from typing import ClassVar


class TandemError(Exception):
    """An error meant to be read by a person.

    Args:
        message: What was wrong, in one sentence without a final full stop.
        where: The field path, file, folder, run or variable that it is about.
        hint: What to do about it.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}. {self.hint}" if self.hint else text

    def as_json(self) -> dict[str, str | None]:
        """The one JSON shape of errors: `code`, `message`, `where`, `hint`."""
        return {"code": self.code, "message": self.message, "where": self.where, "hint": self.hint}


class InputError(TandemError):
    """What somebody handed in is wrong; nothing was changed."""

    code = "bad_input"


class SpecError(InputError):
    """A run's specification is wrong; `where` is the field's path."""

    code = "bad_spec"


class SettingsError(InputError):
    """An environment variable or a command line flag has a bad value."""

    code = "bad_settings"


class ImageError(InputError):
    """A picture that is none, or is over a limit."""

    code = "bad_image"


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

    code = "too_large"


class BodyTimeoutError(InputError):
    """The body did not arrive in time."""

    code = "body_timeout"


class MediaTypeError(InputError):
    """The content type is none that is read."""

    code = "bad_media_type"


class DatasetError(TandemError):
    """A data set cannot be used."""

    code = "bad_dataset"


class DatasetMissingError(DatasetError):
    """The files of a data set are not where they were looked for."""

    code = "dataset_missing"


class DatasetCorruptError(DatasetError):
    """The files of a data set are there and wrong."""

    code = "dataset_corrupt"


class DownloadError(DatasetError):
    """A data set could not be downloaded."""

    code = "download_failed"


class VolumeError(TandemError):
    """Something on the volume cannot be used."""

    code = "volume_error"


class CorruptRecordError(VolumeError):
    """A record is not what its schema says."""

    code = "corrupt_record"


class UnknownSchemaError(VolumeError):
    """A record has a schema version that this release does not know. It is never guessed at."""

    code = "unknown_schema"


class CorruptCheckpointError(VolumeError):
    """A checkpoint's files do not match its manifest."""

    code = "corrupt_checkpoint"


class NoGoodCheckpointError(VolumeError):
    """Checkpoints are there, and none of them is good. Starting anew would lose a run silently, so nobody does."""

    code = "no_good_checkpoint"


class CorruptExportError(VolumeError):
    """An export does not match its manifest, or does not work."""

    code = "corrupt_export"


class NotWritableError(VolumeError):
    """A folder that must be written to cannot be."""

    code = "not_writable"


class FencedError(VolumeError):
    """Another writer has taken this place over; this one must not commit any more."""

    code = "fenced"


class NotFoundError(TandemError):
    """No such run, checkpoint, evaluation or model."""

    code = "not_found"


class ConflictError(TandemError):
    """The thing exists, and its state does not allow what was asked."""

    code = "conflict"


class AccessError(TandemError):
    """Who asks may not."""

    code = "access_denied"


class UnauthenticatedError(AccessError):
    """There was no key, or none that is known."""

    code = "unauthenticated"


class ForbiddenError(AccessError):
    """The key is known, and does not open this."""

    code = "forbidden"


class UnavailableError(TandemError):
    """Not now: no model yet, no free slot, an engine that is away. Worth a retry."""

    code = "unavailable"


class OverloadedError(UnavailableError):
    """As many pictures wait as may wait."""

    code = "overloaded"


class RateLimitedError(UnavailableError):
    """This client asks more often than it may.

    Args:
        message: As of every error; so are `where` and `hint`.
        retry_after: Whole seconds until it may again, where that is known.
    """

    code = "rate_limited"

    def __init__(
        self, message: str, *, where: str | None = None, hint: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.retry_after = retry_after


class DeadlineError(UnavailableError):
    """There was no answer in time."""

    code = "deadline_exceeded"


class InferenceError(TandemError):
    """The model failed on this input."""

    code = "inference_failed"


class NotFiniteError(InferenceError):
    """The model answered with a number that is none."""

    code = "not_finite"


class DivergedError(TandemError):
    """The loss or a weight is no longer a finite number."""

    code = "diverged"
