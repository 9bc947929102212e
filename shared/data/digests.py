"""What is in a file, as a digest, and what is in a data set, as a fingerprint.

Up to `CHEAP_BYTES` a file is read whole each time (CIFAR-10 takes a fraction of a second). The digest of a larger one
is noted under `<notes>/digests/`, and trusted while the file's size, times and inode stay the same.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from shared.atomic import Digest
from shared.errors import CorruptRecordError, UnknownSchemaError
from shared.records import FileRecord, read_record_or_none, write_record

CHEAP_BYTES = 2**30


def file_digest(path: Path, *, notes: Path, cheap_bytes: int = CHEAP_BYTES) -> Digest:
    """The digest of a file's content.

    Args:
        path: The file.
        notes: A folder that may be written to, for the digests of large files.
        cheap_bytes: Up to this size the file is read whole each time.

    Raises:
        OSError: The file cannot be read.
    """
    identity = path.stat()
    if identity.st_size <= cheap_bytes:
        return _read_digest(path)
    note = notes / "digests" / f"{_name(path, identity)}.json"
    try:
        record = read_record_or_none(note, FileRecord)
    except (CorruptRecordError, UnknownSchemaError):
        record = None  # a note is only ever a saving of time
    if record is None:
        digest = _read_digest(path)
        write_record(note, FileRecord(size=digest.size, sha256=digest.sha256))
        return digest
    return Digest(size=record.size, sha256=record.sha256)


def fingerprint(kind: str, parts: Mapping[str, Digest | str | int | list[int] | list[str]]) -> str:
    """One hexadecimal SHA-256 of a data set's kind and of named parts that decide what its examples are."""
    plain = {name: part.sha256 if isinstance(part, Digest) else part for name, part in parts.items()}
    return hashlib.sha256(json.dumps([kind, plain], sort_keys=True).encode()).hexdigest()


def stat_identity(path: Path) -> list[int]:
    """Figures that change whenever a file is written to or replaced: size, modification time, change time, inode."""
    return _figures(path.stat())


def _figures(stat: os.stat_result) -> list[int]:
    # The change time cannot be set back by those who set back the modification time.
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _name(path: Path, stat: os.stat_result) -> str:
    return hashlib.sha256(json.dumps([str(path.resolve()), _figures(stat)]).encode()).hexdigest()


def _read_digest(path: Path) -> Digest:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Digest(size=file.tell(), sha256=sha256)
