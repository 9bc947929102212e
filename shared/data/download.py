"""Fetches a data set's archive over HTTP, in as many pieces as it takes, and puts its files in place when all is well.

On the volume: `datasets/.download/<archive>` is the part fetched so far and `<archive>.json` which version of it the
server said that is; both stay when a download is broken off, so that the next one goes on there. `datasets/<kind>` is
made at the very end, whole. Only one process downloads at a time: another one waits, and finds the files in place.

The standard library's `urllib` is used: it reads proxies from the environment as people expect, and what a download
needs beyond it (ranges, retries, checksums) no HTTP library does by itself.
"""

import hashlib
import http
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from shared import atomic
from shared.data.archive import CIFAR10_ARCHIVE, Archive, unpack
from shared.data.catalog import at_hand
from shared.errors import CorruptRecordError, DownloadError, UnknownSchemaError
from shared.layout import Volume
from shared.locks import exclusive_lock
from shared.records import Record, read_record_or_none, write_record

ATTEMPTS = 5
TIMEOUT_SECONDS = 30.0
BLOCK = 2**16
PROGRESS_BYTES = 2**20  # so much news makes an attempt count as one that got on

Progress = Callable[[int, int], object]


class PartRecord(Record):
    """Which version of the archive a part is of: the server's ETag or date of last change, if it told one."""

    url: str
    validator: str | None


class _Interrupted(Exception):
    """An attempt failed in a way that another one may not."""


class Downloader:
    """Downloads one archive to a volume.

    Args:
        volume: Where the files go.
        archive: What is fetched.
        progress: Called with the bytes that are there and those there will be, at every 64 KiB. May raise to break off.
        sleep: Waits between attempts, given seconds.
        timeout: Seconds without a byte after which an attempt is given up.
        attempts: How many attempts in a row may fail before the download does.
    """

    def __init__(
        self,
        *,
        volume: Volume,
        archive: Archive = CIFAR10_ARCHIVE,
        progress: Progress = lambda _done, _total: None,
        sleep: Callable[[float], object] = time.sleep,
        timeout: float = TIMEOUT_SECONDS,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._volume = volume
        self._archive = archive
        self._progress = progress
        self._sleep = sleep
        self._timeout = timeout
        self._attempts = attempts
        self._part = volume.datasets / ".download" / archive.name
        self._note = self._part.with_name(f"{archive.name}.json")

    @property
    def target(self) -> Path:
        """Where the files will lie."""
        return self._volume.datasets / self._archive.kind

    def run(self) -> Path:
        """Downloads, verifies and unpacks the archive, unless its files are there already.

        Returns:
            The folder with the files.

        Raises:
            DownloadError: It cannot be done; says what was tried, and how to put the files in place by hand.
        """
        try:
            with exclusive_lock(self._part.with_name(".lock")):
                if not at_hand(self._archive.kind, None, volume=self._volume):
                    atomic.sweep(self._volume.datasets)  # what downloads that were killed had begun to unpack
                    self._make_way()
                    self._fetch()
                    unpack(self._part, self._archive, self.target)
                self._forget()
        except DownloadError as error:
            raise DownloadError(error.message, where=error.where, hint=error.hint or self._by_hand()) from error
        except OSError as error:
            raise DownloadError(
                f"the files cannot be written: {error.strerror or error}",
                where=str(error.filename or self._part.parent),
                hint=f"Make room or give rights there; what was fetched so far is kept. {self._by_hand()}",
            ) from error
        return self.target

    def _make_way(self) -> None:
        if os.path.lexists(self.target):
            try:
                self.target.rmdir()
            except OSError as error:
                raise DownloadError(
                    "something is here already, and it is not the whole data set",
                    where=str(self.target),
                    hint="Remove it, then try again",
                ) from error

    def _fetch(self) -> None:
        """Brings the part up to the whole, verified archive."""
        failures, reached = 0, self._size()
        while True:
            try:
                self._attempt()
                self._verify()
                return
            except _Interrupted as error:
                size = self._size()
                failures = 1 if size >= reached + PROGRESS_BYTES else failures + 1
                reached = max(reached, size)
                if failures >= self._attempts:
                    raise DownloadError(
                        f"cannot be downloaded, after {failures} attempts in a row: {error}", where=self._archive.url
                    ) from error
                self._sleep(2.0 ** (failures - 1))

    def _attempt(self) -> None:
        """Asks for what is missing, and appends it to the part."""
        size = self._size()
        if size == self._archive.digest.size:
            return
        if size > self._archive.digest.size:
            self._forget()
            size = 0
        request = urllib.request.Request(self._archive.url, headers={"User-Agent": "tandem"})
        if size:
            request.add_header("Range", f"bytes={size}-")
            if validator := self._validator():
                request.add_header("If-Range", validator)
        try:
            response = urllib.request.urlopen(request, timeout=self._timeout)  # nosec B310 # the URL is one of the catalog
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error)
        except (OSError, http.client.HTTPException) as error:
            raise _Interrupted(_reason(error)) from error
        with response:
            self._receive(response, size)

    def _refused(self, error: urllib.error.HTTPError) -> None:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._forget()  # the server's file is shorter than the part: not what the part is of
        elif error.code < 500 and error.code not in (408, 425, 429):
            raise DownloadError(f"the server refuses: {error.code} {error.reason}", where=self._archive.url) from error
        raise _Interrupted(f"the server answers {error.code} {error.reason}") from error

    def _receive(self, response: http.client.HTTPResponse, size: int) -> None:
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            if not (response.headers.get("Content-Range") or "").startswith(f"bytes {size}-"):
                self._forget()
                raise _Interrupted(f"asked for bytes from {size:,} on, the server sends others")
        else:
            # The whole archive, be it that the server knows no ranges, or that its file has changed.
            size = 0
            self._forget()
            self._check_length(response)
            validator = _validator_of(response)
            write_record(self._note, PartRecord(url=self._archive.url, validator=validator))
        with self._part.open("ab") as part:
            while size < self._archive.digest.size:
                block = self._read(response, self._archive.digest.size - size)
                part.write(block)
                size += len(block)
                self._progress(size, self._archive.digest.size)
            _sync(part)

    def _check_length(self, response: http.client.HTTPResponse) -> None:
        length = response.headers.get("Content-Length")
        if length is not None and length != str(self._archive.digest.size):
            raise DownloadError(
                f"the server offers another file, of {length} bytes instead of {self._archive.digest.size:,}",
                where=self._archive.url,
            )

    def _read(self, response: http.client.HTTPResponse, wanted: int) -> bytes:
        try:
            block = response.read(min(BLOCK, wanted))
        except (OSError, http.client.HTTPException) as error:
            raise _Interrupted(_reason(error)) from error
        if not block:
            raise _Interrupted(f"the connection ended {wanted:,} bytes too early")
        return block

    def _verify(self) -> None:
        with self._part.open("rb") as part:
            found = hashlib.file_digest(part, "sha256").hexdigest()
        if found != self._archive.digest.sha256:
            self._forget()
            raise _Interrupted(f"what was fetched has the SHA-256 {found}, not {self._archive.digest.sha256}")

    def _size(self) -> int:
        try:
            return self._part.stat().st_size
        except FileNotFoundError:
            return 0

    def _validator(self) -> str | None:
        try:
            note = read_record_or_none(self._note, PartRecord)
        except (CorruptRecordError, UnknownSchemaError):
            return None  # the checksum decides in the end
        return note.validator if note is not None and note.url == self._archive.url else None

    def _forget(self) -> None:
        atomic.remove_file(self._part)
        atomic.remove_file(self._note)

    def _by_hand(self) -> str:
        archive = self._archive
        return (
            f"By hand: fetch {archive.url} (SHA-256 {archive.digest.sha256}) on a machine that can, and unpack it so "
            f"that {self.target / archive.folder} holds its files; or let dataset.path name the folder they are in"
        )


def _validator_of(response: http.client.HTTPResponse) -> str | None:
    """What If-Range may carry: a strong ETag, or else the date of last change."""
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(inner) or type(inner).__name__


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
