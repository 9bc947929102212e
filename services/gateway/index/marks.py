"""Whether files have changed, by what the file system says of them. Paths are text: thousands are looked at."""

import contextlib
import hashlib
import os
import stat

from shared.layout import RunFolder

Stamp = tuple[int, int, int] | None


def stamp_of(path: str | os.PathLike[str]) -> Stamp:
    """Time, size (of a folder: number of entries) and inode of what is at a path; None if there is nothing."""
    try:
        found = os.stat(path)
        # Two files may be put into a folder within one tick of its time; their number tells them apart.
        size = len(os.listdir(path)) if stat.S_ISDIR(found.st_mode) else found.st_size
    except OSError:
        return None
    return found.st_mtime_ns, size, found.st_ino


def mark_of(folder: RunFolder) -> str | None:
    """What is another one whenever a file was changed that a run's view is made of; None if there is no such run."""
    root = os.fspath(folder.root)
    spec = stamp_of(f"{root}/spec.json")
    if spec is None:
        return None
    stamps: list[Stamp | tuple[str, Stamp]] = [spec]
    for name in ("desired.json", "tags.json", "trainer/status.json", "trainer/series.jsonl", "gateway/events.jsonl"):
        stamps.append(stamp_of(f"{root}/{name}"))
    stamps.append(stamp_of(f"{root}/checkpoints"))
    evaluations = f"{root}/evaluations"
    stamps.append(stamp_of(evaluations))
    with contextlib.suppress(OSError):
        stamps += [(step, stamp_of(f"{evaluations}/{step}")) for step in sorted(os.listdir(evaluations))]
    return hashlib.blake2b(repr(stamps).encode(), digest_size=12).hexdigest()
