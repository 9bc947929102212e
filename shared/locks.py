"""A lock between processes of one machine, which the kernel lets go of when its holder dies."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from shared.atomic import make_folder
from shared.layout import RunFolder


@contextlib.contextmanager
def exclusive_lock(path: Path, *, within: Path | None = None) -> Iterator[None]:
    """Holds the lock file `path`, which is made if it is missing and is never removed.

    Waits for as long as another process, or another thread of this one, holds it.

    Args:
        path: The lock file.
        within: A folder above it that is not made when it is missing; see `make_folder`.

    Raises:
        OSError: The file cannot be made or locked.
    """
    make_folder(path.parent, within=within)
    with _held(path):
        yield


@contextlib.contextmanager
def exports_lock(folder: RunFolder) -> Iterator[None]:
    """Holds `exports/.lock` of a run, under which exports come and go, aliases move, and the run itself is removed.

    So whoever has it knows that the run stays until it lets go, and who waited while the run was removed learns that.

    Raises:
        FileNotFoundError: The run is gone; nothing of it is made anew.
        OSError: The file cannot be made or locked.
    """
    make_folder(folder.exports, within=folder.root)
    with _held(folder.exports / ".lock"):
        yield


@contextlib.contextmanager
def without_trainer(folder: RunFolder) -> Iterator[bool]:
    """Holds the lock of a run's trainer, if it can be had at once, and says whether.

    So no trainer works on the run meanwhile; one that starts waits for a moment. Where the run has no folder of a
    trainer's, or is gone, nothing is held.

    Raises:
        OSError: The lock file cannot be made or locked.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(folder.lock.open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = _lies_at(folder.lock, file.fileno())  # a trainer that takes over puts another in its place
        except (BlockingIOError, FileNotFoundError, NotADirectoryError):
            held = False
        yield held


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _lies_at(path, file.fileno()):
                yield
                return


def _lies_at(path: Path, descriptor: int) -> bool:
    """Whether what was opened is there still: it may have gone with its folder, or another been copied over it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False
