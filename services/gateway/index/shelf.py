"""Runs that have settled, held compactly: what lists show and ask of them. The rest is read again when asked for.

`gateway/settled.jsonl` saves the next gateway from reading thousands of runs: a first line that says what made it, then
a line a run: what lists ask of it as JSON, a tab, and its view as JSON; of two lines about a run the later one counts.
It is never the truth: a line whose mark does not fit the run's files is passed over, and without the file every run is
read anew. The gateway is its one writer.
"""

import json
import logging
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared import atomic

log = logging.getLogger(__name__)

Judged = frozenset[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Shelved:
    """What is held of a run that has settled.

    Attributes:
        id: The run's id.
        created: When it was made, in seconds since the epoch.
        name: Its name.
        state_name: The state that it has settled in.
        labels: Its labels.
        key: The idempotency key that it was made with, if any.
        mark: Of its files when they were read: with another one, what stands here is old.
        journal: How many bytes of gateway's events there were.
        judged: Step and kind of weights of each verdict.
        view: Its view as JSON.
    """

    id: str
    created: float
    name: str
    state_name: str
    labels: dict[str, str]
    key: str | None
    mark: str
    journal: int
    judged: Judged
    view: bytes = field(repr=False)


class Shelf:
    """Settled runs by id. Not safe to use from several threads: the index guards it.

    Args:
        path: Where it is kept for the next gateway; None: nowhere.
        maker: Says what made the views; lines of another maker are worth nothing.
    """

    def __init__(self, *, path: Path | None = None, maker: str = "") -> None:
        self._path = path
        self._header = json.dumps({"maker": maker}).encode()
        self._entries: dict[str, Shelved] = {}
        self._versions: dict[str, int] = {}
        self._version = 0
        self._written: dict[str, str] = {}
        self._file: atomic.LineAppender | None = None
        self._common: dict[Any, Any] = {}
        self._newest: Sequence[Shelved] | None = None
        self.states: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._entries

    def ids(self) -> list[str]:
        """The ids of all that is held."""
        return list(self._entries)

    def get(self, run_id: str) -> Shelved | None:
        """What is held of a run."""
        return self._entries.get(run_id)

    def with_key(self, key: str) -> list[str]:
        """The runs that were made with this idempotency key."""
        return [each.id for each in self._entries.values() if each.key == key]

    def newest_first(self) -> Sequence[Shelved]:
        """All, the newest first; the answer is never altered."""
        if self._newest is None:
            self._newest = sorted(self._entries.values(), key=lambda each: (each.created, each.id), reverse=True)
        return self._newest

    def since(self, version: int) -> tuple[int, list[Shelved]]:
        """What was put here after a version, and the version now. At first: version 0."""
        found = []
        for run_id in reversed(self._versions):
            if self._versions[run_id] <= version:
                break
            found.append(self._entries[run_id])
        return self._version, found

    def put(self, entry: Shelved) -> None:
        """Holds a run, and keeps it for the next gateway."""
        self._hold(entry)
        if self._written.get(entry.id) != entry.mark:
            self._append(entry)

    def take(self, run_id: str) -> None:
        """Lets go of a run; nothing if it is not here."""
        entry = self._entries.pop(run_id, None)
        if entry is not None:
            del self._versions[run_id]
            self.states[entry.state_name] -= 1
            self._newest = None

    def load(self, present: Collection[str]) -> None:
        """Holds what an earlier gateway left behind about the runs that are there."""
        lines = 0
        for entry in self._read():
            lines += 1
            if entry.id in present:
                self._hold(entry)
                self._written[entry.id] = entry.mark
        if lines > 2 * len(self._entries) + 100:
            self._rewrite()

    def _hold(self, entry: Shelved) -> None:
        self.take(entry.id)
        self._version += 1
        self._entries[entry.id] = entry
        self._versions[entry.id] = self._version
        self.states[entry.state_name] += 1
        self._newest = None

    def _read(self) -> Iterator[Shelved]:
        if self._path is None:
            return
        try:
            with self._path.open("rb") as file:
                if file.readline().rstrip(b"\n") != self._header:
                    return
                for line in file:
                    entry = self._parsed(line)
                    if entry is not None:
                        yield entry
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s cannot be read, so every run is read anew: %s", self._path, error)

    def _parsed(self, line: bytes) -> Shelved | None:
        head, tab, view = line.partition(b"\t")
        if not tab or not view.endswith(b"}\n"):
            return None  # torn
        try:
            values = json.loads(head)
            judged = frozenset((step, sys.intern(kind)) for step, kind in values.pop("judged"))
            values["labels"] = self._once(tuple(sorted(values["labels"].items())), values["labels"])
            for name in ("name", "state_name"):
                values[name] = sys.intern(values[name])
            return Shelved(**values, judged=self._once(judged, judged), view=view[:-1])
        except (ValueError, TypeError, KeyError):
            return None

    def _once(self, key: Any, value: Any) -> Any:
        """What many runs have in common is held once."""
        return self._common.setdefault(key, value)

    def _append(self, entry: Shelved) -> None:
        if self._path is None:
            return
        try:
            if self._file is None:
                if not self._begun():
                    self._rewrite()
                    return
                self._file = atomic.LineAppender(self._path)
            self._file.append(_line(entry))
            self._written[entry.id] = entry.mark
        except OSError as error:
            log.warning("%s cannot be written to; the next gateway reads more anew: %s", self._path, error)
            self._path = None

    def _begun(self) -> bool:
        """Whether lines may be appended to what is there."""
        try:
            with (self._path or Path()).open("rb") as file:
                return file.readline().rstrip(b"\n") == self._header
        except OSError:
            return False

    def _rewrite(self) -> None:
        if self._path is None:
            return
        if self._file is not None:
            self._file.close()
            self._file = None
        atomic.replace_file(self._path, b"\n".join([self._header, *map(_line, self._entries.values()), b""]))
        self._written = {each.id: each.mark for each in self._entries.values()}


def _line(entry: Shelved) -> bytes:
    values = {name: getattr(entry, name) for name in Shelved.__slots__ if name not in {"judged", "view"}}
    return json.dumps({**values, "judged": sorted(entry.judged)}).encode() + b"\t" + entry.view
