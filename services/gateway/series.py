"""The curves of a run: `trainer/series.jsonl` as columns, thinned out to what a screen can show.

Thinning keeps extremes: the steps are cut into equally many lines each, and of each piece the lines with the least and
the greatest loss stay, besides the first and the last line of all. A spike is never lost, and every point shown was
really measured. A step that stands twice, because a trainer went on from a checkpoint, counts as the later line said.

A run of a million steps has 100,000 lines. They are read once, a block at a time, and stay in memory as numbers
(5.6 MB); afterwards an answer costs only what has been appended since. The runs that were written to last are read when
the gateway starts, so that nobody waits for it.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from pydantic_core import from_json

from services.gateway.views import SeriesView
from shared.layout import RunFolder, Volume
from shared.records import SeriesPoint

FIELDS = ("step", "time", "loss", "cross_entropy", "average_loss", "learning_rate", "examples_per_second")
BLOCK_BYTES = 2**20

Points = npt.NDArray[np.float64]
"""Points by step: float64 [len(FIELDS), n]. Steps are exact: they are whole numbers below 2**53."""


@dataclass
class _Read:
    inode: int = 0
    offset: int = 0
    points: Points = field(default_factory=lambda: np.empty((len(FIELDS), 0)))
    count: int = 0

    def append(self, new: Points) -> None:
        """Appends points. What was computed again takes the place of what followed the checkpoint it began from."""
        steps = new[0]
        if len(steps) and (np.any(np.diff(steps) <= 0) or (self.count and steps[0] <= self.points[0, self.count - 1])):
            for column in np.split(new, new.shape[1], axis=1):
                self.count = int(np.searchsorted(self.points[0, : self.count], column[0, 0]))
                self._extend(column)
        else:
            self._extend(new)

    def _extend(self, new: Points) -> None:
        end = self.count + new.shape[1]
        if end > self.points.shape[1]:
            larger = np.empty((len(FIELDS), max(1024, 2 * self.points.shape[1], end)))
            larger[:, : self.count] = self.points[:, : self.count]
            self.points = larger
        self.points[:, self.count : end] = new
        self.count = end


class SeriesReader:
    """Reads series, each byte once while it stays in memory.

    Args:
        kept: Of how many runs the points stay in memory, those asked for last.
    """

    def __init__(self, *, kept: int = 8) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._read: OrderedDict[str, _Read] = OrderedDict()

    def read_ahead(self, volume: Volume, *, stopping: Callable[[], bool]) -> None:
        """Reads the runs that were written to last, the newest of them at the end, as many as stay in memory.

        Args:
            volume: Where the runs are.
            stopping: Looked at before each run; true when there is no more use in it.
        """
        for folder in newest(volume, most=self._kept):
            if stopping():
                return
            self.points(folder)

    def points(self, folder: RunFolder) -> Points:
        """Every point of a run so far, by step; a copy."""
        with self._lock:
            read = self._read.setdefault(folder.id, _Read())
            self._read.move_to_end(folder.id)
            while len(self._read) > self._kept:
                self._read.popitem(last=False)
            try:
                found = folder.series.stat()
                if found.st_ino != read.inode or found.st_size < read.offset:
                    read = self._read[folder.id] = _Read(inode=found.st_ino)
                for block in _blocks(folder, offset=read.offset):
                    read.append(_parsed(block))
                    read.offset += len(block)
            except OSError:
                self._read.pop(folder.id)
                return np.empty((len(FIELDS), 0))
            return read.points[:, : read.count].copy()


def newest(volume: Volume, *, most: int) -> list[RunFolder]:
    """The runs whose series were written to last, at most so many, by when that was."""
    written = []
    for folder in volume.run_folders():
        with suppress(OSError):
            written.append((folder.series.stat().st_mtime_ns, folder.id))
    return [volume.run(name) for _, name in sorted(written)[-most:]]


def thinned(points: Points, most: int) -> Points:
    """At most `most` of the points (at least 2), by step; see the module for which."""
    count = points.shape[1]
    if count <= most:
        return points
    pieces = max(0, (most - 2) // 2)
    heights = points[FIELDS.index("loss"), 1:-1]
    heights = np.where(np.isnan(heights), math.inf, heights)
    starts = np.arange(pieces) * len(heights) // max(1, pieces)
    inner = np.union1d(_first(heights, starts, np.minimum), _first(heights, starts, np.maximum))
    return points[:, np.concatenate(([0], 1 + inner, [count - 1]))]


def view(run_id: str, points: Points) -> SeriesView:
    """Points as the API shows them."""
    columns = dict(zip(FIELDS, points.tolist(), strict=True))
    return SeriesView(
        run=run_id,
        step=[int(step) for step in columns.pop("step")],
        time=columns.pop("time"),
        **{name: [_finite(value) for value in values] for name, values in columns.items()},
    )


def _first(heights: Points, starts: npt.NDArray[np.int64], extreme: np.ufunc) -> npt.NDArray[np.int64]:
    """Where in each piece its extreme stands first; each piece has at least one height."""
    if not len(starts):
        return np.empty(0, np.int64)
    lengths = np.diff(starts, append=len(heights))
    there = np.flatnonzero(heights == np.repeat(extreme.reduceat(heights, starts), lengths))
    _, first = np.unique(np.searchsorted(starts, there, side="right"), return_index=True)
    return there[first]


def _blocks(folder: RunFolder, *, offset: int) -> Iterator[bytes]:
    """Whole lines from `offset` on, about BLOCK_BYTES at a time. A torn last line waits until it is whole."""
    with folder.series.open("rb") as file:
        file.seek(offset)
        while block := file.read(BLOCK_BYTES):
            block += file.readline()
            yield block[: block.rfind(b"\n") + 1]


def _parsed(lines: bytes) -> Points:
    """The points in whole lines; a line that is no record is passed over."""
    if not lines:
        return np.empty((len(FIELDS), 0))
    try:
        rows = from_json(b"[" + lines[:-1].replace(b"\n", b",") + b"]")
        return np.array([[row[name] for row in rows] for name in FIELDS], np.float64)
    except (ValueError, KeyError, TypeError):
        rows = [list(each) for line in lines.splitlines() if (each := _values(line)) is not None]
        return np.array(rows, np.float64).reshape(-1, len(FIELDS)).T


def _values(line: bytes) -> tuple[float, ...] | None:
    try:
        point = SeriesPoint.model_validate_json(line)
    except ValidationError:
        return None
    return tuple(getattr(point, name) for name in FIELDS)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
