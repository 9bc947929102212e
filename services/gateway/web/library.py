"""uPlot, which draws the page's curves: found in the wheel that carries it, and taken only if it is the file we know.

The wheel is a vehicle: none of its Python is imported. The digests are those of uPlot's own release, so that what a
browser runs is what uPlot's authors published, whoever packed it. `docs/decisions/` says why this library.
"""

import hashlib
import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path

VERSION = "1.6.31"
CARRIER = "youplot"
DIGESTS: Mapping[str, str] = {
    "uplot.iife.min.js": "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
    "uplot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}

_log = logging.getLogger(__name__)


def locate() -> Path | None:
    """The folder of the library's files, or None if the package that carries them is not installed."""
    found = importlib.util.find_spec(CARRIER)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "vendor"


def load(folder: Path | None) -> dict[str, bytes]:
    """The library's files by name; without them the page shows its figures, but no curves.

    Args:
        folder: Where they lie; None: nowhere.

    Returns:
        All of them, or, if one is missing or is not what its digest says, none; the log says which.
    """
    files: dict[str, bytes] = {}
    for name, digest in DIGESTS.items():
        try:
            data = b"" if folder is None else (folder / name).read_bytes()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != digest:
            fault = "is not the one of its release" if data else "is missing"
            _log.warning("the page draws no curves: %s of uPlot %s %s; install %s", name, VERSION, fault, CARRIER)
            return {}
        files[name] = data
    return files
