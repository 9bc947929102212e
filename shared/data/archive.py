"""A published archive of data files: where it is, what it must be, and how it is unpacked without trusting it."""

import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from shared import atomic
from shared.data.checksums import CHECKSUMS, Checksums
from shared.errors import DownloadError
from shared.records import FileRecord, encode_record

BLOCK = 2**20


@dataclass(frozen=True)
class Archive:
    """A gzipped tar file.

    Attributes:
        kind: The kind of data set it holds, which names its folder on the volume.
        url: Where it is published.
        digest: What it must be.
        folder: The one folder in it.
        members: The files in that folder, each with the greatest size in bytes that is unpacked.
    """

    kind: str
    url: str
    digest: atomic.Digest
    folder: str
    members: Mapping[str, int]

    @property
    def name(self) -> str:
        """The archive's own file name."""
        return self.url.rsplit("/", 1)[-1]


# Its MD5, as the official page prints it, is c32a1d4ab5d03f1284b67883e8d87530.
CIFAR10_ARCHIVE = Archive(
    kind="cifar10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    digest=atomic.Digest(size=170_052_171, sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    folder="cifar-10-batches-bin",
    members=MappingProxyType(
        {
            **{f"data_batch_{number}.bin": 30_730_000 for number in range(1, 6)},
            "test_batch.bin": 30_730_000,
            "batches.meta.txt": 4_096,
            "readme.html": 4_096,
        }
    ),
)


def unpack(path: Path, archive: Archive, target: Path) -> None:
    """Unpacks the expected files of the archive at `path` into the new folder `target`, with `checksums.json`.

    Whatever else the archive holds, such as a link, another name, or a file that is too large, is an error, and then
    there is no `target`.

    Raises:
        DownloadError: The archive is broken, or holds what it should not.
        FileExistsError: `target` is there.
        OSError: The files could not be written.
    """
    with atomic.committing(target) as folder:
        files: dict[str, FileRecord] = {}
        for name, chunks in _members(path, archive):
            if name in files:
                raise DownloadError(f"holds {name} twice", where=str(path))
            digest = folder.write_chunks(name, chunks)
            files[name] = FileRecord(size=digest.size, sha256=digest.sha256)
        missing = sorted(set(archive.members) - set(files))
        if missing:
            raise DownloadError(f"does not hold {', '.join(missing)}", where=str(path))
        whole = FileRecord(size=archive.digest.size, sha256=archive.digest.sha256)
        folder.write(CHECKSUMS, encode_record(Checksums(source=archive.url, archive=whole, files=files)))


def _members(path: Path, archive: Archive) -> Iterator[tuple[str, Iterator[bytes]]]:
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                if member.isdir() and member.name.rstrip("/") == archive.folder:
                    continue
                folder, _, name = member.name.partition("/")
                if not member.isreg() or folder != archive.folder or name not in archive.members:
                    raise DownloadError(f"holds {member.name!r}, which does not belong there", where=str(path))
                if member.size > archive.members[name]:
                    raise DownloadError(
                        f"holds {name} with {member.size:,} bytes, more than {archive.members[name]:,}", where=str(path)
                    )
                yield name, _content(tar, member, path)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DownloadError(f"cannot be unpacked: {error}", where=str(path)) from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> Iterator[bytes]:
    source = tar.extractfile(member)
    left = member.size
    while source is not None and left:
        block = source.read(min(BLOCK, left))
        if not block:
            raise DownloadError(f"ends within {member.name}", where=str(path))
        left -= len(block)
        yield block
