"""Faults in the calls of the operating system that shared.atomic makes: the k-th call fails, or ends the process.

`Calls` wraps the functions of `os` that change or sync files. It counts them, and hands each to a fault that may raise
or end the process before it, or shorten a write. It also records what was synced, so that `lose_unsynced` can play what
a power loss may do: bytes written after a file's last fsync are gone, and names made after a folder's last fsync too.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRAPPED = ("open", "write", "fsync", "close", "rename", "link", "unlink", "mkdir", "rmdir")


@dataclass
class Calls:
    """Counts the wrapped calls below `root`; before each, `fault(number, name)` is asked what to do."""

    root: Path
    fault: Callable[[int, str], None] = lambda number, name: None
    taken: Callable[[int, int], int] | None = None  # number and length of a write → how much of it is taken
    made: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    synced_sizes: dict[int, int] = field(default_factory=dict)  # inode → size at its last fsync
    durable_names: dict[int, dict[str, int]] = field(default_factory=dict)  # folder's inode → name → inode, as synced
    replaced: dict[Path, bytes] = field(default_factory=dict)  # file → what it held before a rename not yet synced

    def before(self, name: str) -> None:
        self.made.append(name)
        self.fault(len(self.made), name)

    def note_sync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            self.replaced = {file: data for file, data in self.replaced.items() if file.parent != path}
            self.durable_names[status.st_ino] = {entry.name: entry.inode() for entry in os.scandir(path)}
        else:
            self.synced_sizes[status.st_ino] = status.st_size


@contextmanager
def wrapped(calls: Calls) -> Iterator[Calls]:
    """Puts the wrappers in place of the functions of `os`."""
    originals = {name: getattr(os, name) for name in WRAPPED}

    def wrap(name: str) -> Callable[..., Any]:
        original = originals[name]

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.before(name)
            if name == "open":
                calls.opened.append(os.fspath(args[0]))
            if name == "rename" and os.path.isfile(args[1]):
                calls.replaced.setdefault(Path(args[1]), Path(args[1]).read_bytes())
            if name == "write" and calls.taken is not None:
                args = (args[0], bytes(args[1])[: calls.taken(len(calls.made), len(args[1]))])
            result = original(*args, **kwargs)
            if name == "fsync":
                calls.note_sync(args[0])
            elif name == "mkdir":  # whose inode may have been that of something removed
                calls.durable_names.pop(os.stat(args[0]).st_ino, None)
            elif name == "open" and args[1] & os.O_EXCL:
                calls.synced_sizes.pop(os.fstat(result).st_ino, None)
            return result

        return call

    for name in WRAPPED:
        setattr(os, name, wrap(name))
    try:
        yield calls
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


def lose_unsynced(calls: Calls, *, keep_names: bool) -> None:
    """Leaves below the root what a power loss surely leaves: synced bytes, and (unless `keep_names`) synced names.

    With `keep_names`, names made since the last sync of their folder are there, which is the other thing that may
    happen; a careful reader must cope with both.
    """
    for path in sorted(calls.root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, calls.synced_sizes.get(path.stat().st_ino, 0))
    if keep_names:
        return
    for folder in sorted([calls.root, *(p for p in calls.root.rglob("*") if p.is_dir())], reverse=True):
        durable = calls.durable_names.get(folder.stat().st_ino, {})
        for entry in list(os.scandir(folder)):
            if durable.get(entry.name) != entry.inode():
                shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)
    for path, data in calls.replaced.items():
        if path.parent.is_dir():
            path.write_bytes(data)
