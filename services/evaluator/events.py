"""What happened to a run while it was judged, as lines of `evaluator/events.jsonl` in the run's folder.

Several evaluators may append to one file: each line is a single write in append mode.
"""

import logging
from collections.abc import Callable

from shared.layout import RunFolder
from shared.records import Event, LineWriter

_LOG = logging.getLogger(__name__)


class EventLog:
    """Appends events, and says the same in the log.

    Args:
        wall: Seconds since the epoch.
    """

    def __init__(self, *, wall: Callable[[], float]) -> None:
        self._wall = wall

    def add(
        self,
        folder: RunFolder,
        kind: str,
        message: str,
        *,
        step: int | None = None,
        level: int = logging.WARNING,
        **details: object,
    ) -> None:
        """Adds one event. A file that cannot be written to never stops the evaluator."""
        where = folder.id if step is None else f"{folder.id} at step {step}"
        _LOG.log(level, "%s: %s", where, message, extra={"run": folder.id, "step": step, "event": kind})
        if not folder.root.exists():
            return  # the run was removed; its folder must not come back for the sake of a line
        event = Event(
            time=self._wall(), service="evaluator", kind=kind, message=message, step=step, details=dict(details)
        )
        lines = LineWriter(folder.evaluator_events, within=folder.root)
        try:
            lines.append(event)
        except OSError as error:
            _LOG.warning("%s: cannot be written to: %s", folder.evaluator_events, error)
        finally:
            lines.close()
