"""The files of the page in memory: with type, entity tag, and a compressed form where that is smaller."""

import gzip
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).with_name("static")
LEAST_GAIN = 0.9
TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One file as it is sent.

    Attributes:
        data: Its bytes.
        packed: The same, compressed with gzip; None if that gains little.
        media_type: For `Content-Type`.
        tag: A weak entity tag, of the content alone, whichever form is sent.
    """

    data: bytes
    packed: bytes | None
    media_type: str
    tag: str


def asset(name: str, data: bytes) -> Asset:
    """One file, ready to be sent."""
    packed = gzip.compress(data, mtime=0)
    return Asset(
        data=data,
        packed=packed if len(packed) < LEAST_GAIN * len(data) else None,
        media_type=TYPES[Path(name).suffix],
        tag=f'W/"{hashlib.sha256(data).hexdigest()[:24]}"',
    )


def read(folder: Path) -> dict[str, Asset]:
    """Every file of a kind that is known below a folder, by its path in it."""
    return {name: asset(name, path.read_bytes()) for name, path in _files(folder)}


def _files(folder: Path) -> Iterable[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in TYPES:
            yield path.relative_to(folder).as_posix(), path
