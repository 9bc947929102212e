"""Logs: lines for people on standard error, and the same as JSON lines in a file of the volume where one is named.

A line of the file: `{"time": …, "level": "info", "service": "trainer", "message": "…"}` and whatever was passed as
`extra`, such as the run.
"""

import json
import logging
import sys
from pathlib import Path

from shared.atomic import LineAppender

FILE_BYTES = 8 * 2**20

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLinesHandler(logging.Handler):
    """Appends each record to a JSON-lines file, which is kept twice at most at FILE_BYTES: `<name>` and `<name>.1`.

    A file that cannot be written to never stops the service.
    """

    def __init__(self, path: Path, *, service: str) -> None:
        super().__init__()
        self._lines = LineAppender(path, limit=FILE_BYTES)
        self._service = service

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record as one line."""
        try:
            self._lines.append(json.dumps(self._values(record), default=str).encode())
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()
        super().close()

    def _values(self, record: logging.LogRecord) -> dict[str, object]:
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        values = {
            "time": record.created,
            "level": record.levelname.lower(),
            "service": self._service,
            "message": record.getMessage(),
            **extra,
        }
        if record.exc_info:
            values["traceback"] = logging.Formatter().formatException(record.exc_info)
        return values


def configure(*, service: str, level: str) -> None:
    """Sends the log to standard error, for people. Called once, by `__main__`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s {service} %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)


def also_to(path: Path, *, service: str) -> JsonLinesHandler:
    """Sends the log to `path` too, from now on; returns the handler, to be removed and closed."""
    handler = JsonLinesHandler(path, service=service)
    logging.getLogger().addHandler(handler)
    return handler
