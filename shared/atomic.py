"""All renaming on the volume happens here: a reader sees a file or a folder whole, or not at all.

Commit of a folder: temporary sibling → write each file → fsync each → fsync the folder → rename → fsync the parent.
Replacing a file: the same steps. Appending a line: one `write` of the whole line to a descriptor in append mode.

Promised: after a call has returned, what it wrote survives a crash of the process and, on a file system that keeps
`fsync`, of the machine. When a call raises, nothing under the final name has changed. Not promised: that two writers of
one path are told apart (each path has one writer), or that a torn last line is repaired for readers (they skip it).

The operating system is always called as `os.<function>`, so that fault tests can fail each call in turn.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import NotWritableError

TEMPORARY = ".tmp-"
TRASH = ".trash-"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Digest:
    """What a file must be to count as whole: its size in bytes and the SHA-256 of its content, in hexadecimal."""

    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> "Digest":
        """The digest of bytes in memory."""
        return cls(size=len(data), sha256=hashlib.sha256(data).hexdigest())


class FolderCommit:
    """A folder in the making: `write` its files, then `commit` it under its final name, or `abandon` it.

    Leaves behind a temporary sibling only when the process is killed; `sweep` collects those.
    """

    def __init__(self, final: Path) -> None:
        self._final = final
        self._temporary = final.parent / f"{TEMPORARY}{final.name}-{os.getpid()}-{secrets.token_hex(4)}"
        self._made = False
        self._inner: list[Path] = []

    def write(self, name: str, data: bytes) -> Digest:
        """Writes and syncs one file of the folder; `name` may lead into a folder within it.

        Raises:
            OSError: The file could not be written whole; `abandon` what there is.
        """
        return self.write_chunks(name, (data,))

    def write_chunks(self, name: str, chunks: Iterable[bytes | memoryview]) -> Digest:
        """Writes and syncs one file of the folder, which may be larger than memory.

        Raises:
            OSError: The file could not be written whole; `abandon` what there is.
        """
        return _write_synced(self._place(name), chunks)

    def adopt(self, name: str, source: Path) -> None:
        """Takes over a committed, immutable file: as a second name of it, or as a copy where that cannot be had.

        Raises:
            OSError: The source is gone, or the copy could not be written whole; `abandon` what there is.
        """
        place = self._place(name)
        try:
            os.link(source, place)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without hard links
            with source.open("rb") as file:
                _write_synced(place, iter(lambda: file.read(_CHUNK), b""))

    def commit(self) -> Path:
        """Gives the folder its final name.

        Raises:
            FileExistsError: A folder of that name is there; committed folders are immutable.
            OSError: The folder or its parent could not be synced or renamed.
        """
        for folder in self._inner:
            _sync_folder(folder)
        _sync_folder(self._temporary)
        if os.path.lexists(self._final):
            raise FileExistsError(errno.EEXIST, "already committed", str(self._final))
        os.rename(self._temporary, self._final)
        self._made = False
        _sync_folder(self._final.parent)
        return self._final

    def abandon(self) -> None:
        """Removes what was written so far. Never raises: it is called while another error is under way."""
        if self._made:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._made = False

    def _place(self, name: str) -> Path:
        if not self._made:
            make_folder(self._final.parent)
            os.mkdir(self._temporary)
            self._made = True
        place = self._temporary / name
        if place.parent != self._temporary and place.parent not in self._inner:
            os.mkdir(place.parent)
            self._inner.append(place.parent)
        return place


def make_folder(path: Path, *, within: Path | None = None) -> None:
    """Makes a folder and its missing parents, durably: what is committed in them must not vanish with them.

    Args:
        path: The folder.
        within: A folder above it that is not made: what was removed does not come back by what is written into it.

    Raises:
        FileNotFoundError: `within` is not there.
        OSError: It cannot be made.
    """
    if os.path.isdir(path):
        return
    if path == within:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if path.parent != path:
        make_folder(path.parent, within=within)
    with contextlib.suppress(FileExistsError):  # another process was faster
        os.mkdir(path)
    _sync_folder(path.parent)


def replace_file(path: Path, data: bytes, *, within: Path | None = None) -> None:
    """Puts a file in place of `path`, which may or may not exist. Makes missing parents, as `make_folder` does.

    Raises:
        OSError: `path` is as it was before.
    """
    make_folder(path.parent, within=within)
    temporary = path.parent / f"{TEMPORARY}{path.name}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        _write_synced(temporary, (data,))
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def create_file(path: Path, data: bytes, *, within: Path | None = None) -> bool:
    """Creates a file whole, unless one is there: who comes first wins. Makes missing parents, as `make_folder` does.

    Returns:
        Whether this call made it.
    """
    make_folder(path.parent, within=within)
    temporary = path.parent / f"{TEMPORARY}{path.name}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        _write_synced(temporary, (data,))
        try:
            os.link(temporary, path)  # fails where the name is taken, which rename would not
        except FileExistsError:
            return False
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    _sync_folder(path.parent)
    return True


def remove_file(path: Path) -> None:
    """Removes a file if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def move_folder(source: Path, target: Path) -> None:
    """Renames a folder within the volume, durably; makes the target's parent."""
    make_folder(target.parent)
    os.rename(source, target)
    _sync_folder(target.parent)
    _sync_folder(source.parent)


def remove_folder(path: Path) -> None:
    """Removes a folder in two phases: it leaves its name in one step, then its files go. Missing is fine."""
    trash = discard_folder(path)
    if trash is not None:
        shutil.rmtree(trash, ignore_errors=True)


def discard_folder(path: Path) -> Path | None:
    """The first phase of a removal: the folder leaves its name, durably.

    Returns:
        Where its files are now, for the second phase; None if there was no folder.
    """
    trash = path.parent / f"{TRASH}{path.name}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        os.rename(path, trash)
    except FileNotFoundError:
        return None
    _sync_folder(path.parent)
    return trash


def sweep(folder: Path, *, of: Sequence[str] | None = None) -> list[Path]:
    """Removes what killed writers left in `folder`. Only the one writer may call it.

    Args:
        folder: Where they wrote.
        of: The names of the files that they wrote, where others write other files beside them; None: all is theirs.

    Returns:
        What was removed.
    """
    beginnings = (TEMPORARY, TRASH) if of is None else tuple(f"{TEMPORARY}{name}-" for name in of)
    removed = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            if name.startswith(beginnings):
                path = folder / name
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    remove_file(path)
                removed.append(path)
    return removed


class LineAppender:
    """Appends lines to one file, a line a write, and mends what a killed predecessor tore.

    Not thread-safe; each file has one writer.

    Args:
        path: The file.
        limit: Bytes after which it is moved to `<name>.1`, in the place of the one before, and begun anew. None: never.
        within: A folder above it that is not made when it is missing; see `make_folder`.
    """

    def __init__(self, path: Path, *, limit: int | None = None, within: Path | None = None) -> None:
        self._path = path
        self._limit = limit
        self._within = within
        self._descriptor: int | None = None

    def append(self, line: bytes) -> None:
        """Appends `line`, which has no newline of its own.

        Raises:
            OSError: The line may be torn; the next append starts on a line of its own.
        """
        if self._descriptor is None:
            self._descriptor = self._open()
        try:
            _write_all(self._descriptor, line + b"\n")
            if self._limit is not None and os.fstat(self._descriptor).st_size >= self._limit:
                self.close()
                os.rename(self._path, self._path.with_name(f"{self._path.name}.1"))
        except OSError:
            self.close()
            raise

    def sync(self) -> None:
        """Makes what was appended survive a crash of the machine."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Closes the file; a later append opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        make_folder(self._path.parent, within=self._within)
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            _write_all(descriptor, b"\n")
        return descriptor


def probe_writable(folder: Path) -> None:
    """Makes sure that files can be made and synced in `folder`, which is created if it is missing.

    Raises:
        NotWritableError: They cannot; names the folder, the user and the system's reason.
    """
    probe = folder / f"{TEMPORARY}probe-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        make_folder(folder)
        _write_synced(probe, (b"tandem",))
        os.unlink(probe)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(probe)
        raise NotWritableError(
            f"cannot be written to by user {os.getuid()}: {error.strerror}",
            where=str(folder),
            hint="Give that user the folder, or name another one",
        ) from error


@contextlib.contextmanager
def committing(final: Path) -> Iterator[FolderCommit]:
    """A `FolderCommit` that is committed when the block ends and abandoned when it raises."""
    folder = FolderCommit(final)
    try:
        yield folder
        folder.commit()
    except BaseException:
        folder.abandon()
        raise


def _write_synced(path: Path, chunks: Iterable[bytes | memoryview]) -> Digest:
    size, sha256 = 0, hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        for chunk in chunks:
            _write_all(descriptor, chunk)
            sha256.update(chunk)
            size += len(chunk)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Digest(size=size, sha256=sha256.hexdigest())


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        written = os.write(descriptor, view)
        if written <= 0:
            raise OSError(errno.EIO, "a write wrote nothing")
        view = view[written:]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
