"""`checksums.json`: what the files of a downloaded data set must be, written beside them when they were verified."""

from collections.abc import Mapping
from pathlib import Path

from shared.atomic import Digest
from shared.errors import CorruptRecordError, DatasetCorruptError
from shared.records import FileRecord, Record, read_record_or_none

CHECKSUMS = "checksums.json"


class Checksums(Record):
    """Where the files came from, and the digest of each by its name."""

    source: str
    archive: FileRecord
    files: dict[str, FileRecord]


def verify_checksums(folder: Path, digests: Mapping[str, Digest]) -> None:
    """Makes sure that the files of `folder` are those of its `checksums.json`. Without one there is nothing to check.

    Args:
        folder: Where the record may lie.
        digests: The files that are used, as they are now, by name.

    Raises:
        DatasetCorruptError: A file is missing, has changed, or came later; or the record itself cannot be read.
    """
    path = folder / CHECKSUMS
    remedy = f"Remove the folder {folder} and download again, or put the files back"
    try:
        record = read_record_or_none(path, Checksums)
    except CorruptRecordError as error:
        raise DatasetCorruptError(error.message, where=str(path), hint=remedy) from error
    if record is None:
        return
    for name in record.files:
        if not (folder / name).is_file():
            raise DatasetCorruptError(f"is missing, though {CHECKSUMS} lists it", where=str(folder / name), hint=remedy)
    for name, digest in digests.items():
        wanted = record.files.get(name)
        if wanted is None:
            problem = f"is not listed in {CHECKSUMS}"
        elif digest.size != wanted.size:
            problem = f"has {digest.size:,} bytes, and had {wanted.size:,} when it was verified"
        elif digest.sha256 != wanted.sha256:
            problem = f"has changed since it was verified: its SHA-256 is {digest.sha256}, not {wanted.sha256}"
        else:
            continue
        raise DatasetCorruptError(problem, where=str(folder / name), hint=remedy)
