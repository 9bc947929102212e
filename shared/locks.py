"""A lock between processes of one machine, which the kernel lets go of when its holder dies."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from shared.atomic import make_folder


@contextlib.contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Holds the lock file `path`, which is made if it is missing and is never removed.

    Waits for as long as another process, or another thread of this one, holds it.

    Raises:
        OSError: The file cannot be made or locked.
    """
    make_folder(path.parent)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
