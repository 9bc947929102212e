"""The curves of a run: `trainer/series.jsonl` as columns, thinned out to what a screen can show.

Thinning keeps extremes: the steps are cut into equally many lines each, and of each piece the lines with the least and
the greatest loss stay, besides the first and the last line of all. A spike is never lost, and every point shown was
really measured. A step that stands twice, because a trainer went on from a checkpoint, counts as the later line said.
"""

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from services.gateway.views import SeriesView
from shared.layout import RunFolder
from shared.records import SeriesPoint, read_lines


@dataclass
class _Read:
    inode: int = 0
    offset: int = 0
    points: list[SeriesPoint] = field(default_factory=list)


class SeriesReader:
    """Reads series, each byte once while it stays in memory.

    Args:
        kept: Of how many runs the points stay in memory, those asked for last.
    """

    def __init__(self, *, kept: int = 8) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._read: OrderedDict[str, _Read] = OrderedDict()

    def points(self, folder: RunFolder) -> list[SeriesPoint]:
        """Every point of a run so far, by step."""
        with self._lock:
            read = self._read.setdefault(folder.id, _Read())
            self._read.move_to_end(folder.id)
            while len(self._read) > self._kept:
                self._read.popitem(last=False)
            try:
                found = folder.series.stat()
            except OSError:
                return []
            if found.st_ino != read.inode or found.st_size < read.offset:
                read.inode, read.offset, read.points = found.st_ino, 0, []
            for offset, point in read_lines(folder.series, SeriesPoint, offset=read.offset):
                read.offset = offset
                while read.points and read.points[-1].step >= point.step:
                    read.points.pop()  # the trainer went back to a checkpoint: what followed is computed again
                read.points.append(point)
            return list(read.points)


def thinned(points: list[SeriesPoint], most: int) -> list[SeriesPoint]:
    """At most `most` of the points (at least 2), by step; see the module for which."""
    if len(points) <= most:
        return points
    pieces = max(0, (most - 2) // 2)
    inner = points[1:-1]
    kept = [points[0]]
    for piece in range(pieces):
        part = inner[piece * len(inner) // pieces : (piece + 1) * len(inner) // pieces]
        low, high = min(part, key=_height), max(part, key=_height)
        kept += [low] if low is high else sorted((low, high), key=lambda point: point.step)
    return [*kept, points[-1]]


def view(run_id: str, points: list[SeriesPoint]) -> SeriesView:
    """Points as columns."""
    return SeriesView(
        run=run_id,
        step=[point.step for point in points],
        loss=[_finite(point.loss) for point in points],
        cross_entropy=[_finite(point.cross_entropy) for point in points],
        average_loss=[_finite(point.average_loss) for point in points],
        learning_rate=[_finite(point.learning_rate) for point in points],
        examples_per_second=[_finite(point.examples_per_second) for point in points],
        time=[point.time for point in points],
    )


def _height(point: SeriesPoint) -> float:
    return math.inf if math.isnan(point.loss) else point.loss


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
