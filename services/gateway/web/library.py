"""Scripts of others: found in the wheels that carry them, and taken only if they are the files we know.

The wheels are vehicles: none of their Python is imported. The digests are those of the libraries' own releases, so that
what a browser runs is what their authors published, whoever packed it. `docs/decisions/` says why these libraries.
"""

import hashlib
import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Library:
    """A library for browsers.

    Attributes:
        name: As its authors call it.
        version: Of the release.
        carrier: The package of the index that carries it.
        folder: Where in that package.
        without: What is not there without it.
        digests: SHA-256 of its files.
    """

    name: str
    version: str
    carrier: str
    folder: str
    without: str
    digests: Mapping[str, str]


UPLOT = Library(
    name="uPlot",
    version="1.6.31",
    carrier="youplot",
    folder="vendor",
    without="the page draws no curves",
    digests={
        "uplot.iife.min.js": "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
        "uplot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    },
)
SWAGGER_UI = Library(
    name="Swagger UI",
    version="5.32.6",
    carrier="fastapi_offline",
    folder="static",
    without="/docs shows no more than a link to the description of the API",
    digests={
        "swagger-ui-bundle.js": "4b5a9b35a1adf37f00d39c0bae23cdb37007e2946240ef035137cc85b4d55349",
        "swagger-ui.css": "ca238f7d7c2cf4480c1e77a9c3b9da915ab216e96ffd354e69076560c650c6de",
    },
)
LIBRARIES = (UPLOT, SWAGGER_UI)


def locate(library: Library) -> Path | None:
    """The folder of the library's files, or None if the package that carries them is not installed."""
    found = importlib.util.find_spec(library.carrier)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / library.folder


def load(library: Library, folder: Path | None) -> dict[str, bytes]:
    """The library's files by name; the page does without them.

    Args:
        library: Which.
        folder: Where they lie; None: nowhere.

    Returns:
        All of them, or, if one is missing or is not what its digest says, none; the log says which.
    """
    files: dict[str, bytes] = {}
    for name, digest in library.digests.items():
        try:
            data = b"" if folder is None else (folder / name).read_bytes()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != digest:
            fault = "is not the one of its release" if data else "is missing"
            what = f"{name} of {library.name} {library.version} {fault}"
            _log.warning("%s: %s; install %s", library.without, what, library.carrier)
            return {}
        files[name] = data
    return files
