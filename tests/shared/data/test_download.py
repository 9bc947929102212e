import errno
import gzip
import http.server
import io
import os
import resource
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from shared.atomic import Digest
from shared.data.archive import CIFAR10_ARCHIVE, Archive
from shared.data.catalog import open_dataset
from shared.data.download import Downloader
from shared.errors import DatasetCorruptError, DownloadError
from shared.layout import Volume
from shared.spec import DatasetSpec

FOLDER = "cifar-10-batches-bin"


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def tar(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


@pytest.fixture
def members(write_cifar10: Callable[..., Path], tmp_path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    folder = write_cifar10(tmp_path / "origin", train=(40, 40), test=20)
    files = [member(f"{FOLDER}/{path.name}", path.read_bytes()) for path in sorted(folder.iterdir())]
    return [member(FOLDER, type=tarfile.DIRTYPE), *files]


@dataclass
class Site:
    """A server of one file. Each request takes the next of `plan`; when it is used up, all goes well.

    A step of the plan is a number of bytes after which the connection is cut, a status to answer with, or the name of
    a habit: `no-ranges` or `other-range`.
    """

    data: bytes
    plan: list[int | str] = field(default_factory=list)
    etag: str | None = '"v1"'
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def archive(self, data: bytes | None = None) -> Archive:
        """The archive as it should be, by default the one that is served."""
        members = {f"data_batch_{n}.bin": 130_000 for n in (1, 2)} | {
            "test_batch.bin": 130_000,
            "batches.meta.txt": 200,
        }
        digest = Digest.of(self.data if data is None else data)
        return Archive(kind="cifar10", url=self.url, digest=digest, folder=FOLDER, members=members)

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(dict(request.headers.items()))
        step = self.plan.pop(0) if self.plan else None
        if isinstance(step, int) and step >= 400 and step < 600:
            request.send_error(step)
            return
        begin, wanted = 0, request.headers.get("Range")
        fresh = request.headers.get("If-Range") in (None, self.etag)
        if wanted and fresh and step != "no-ranges":
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(self.data):
                request.send_error(416)
                return
            begin -= 1 if step == "other-range" else 0
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(self.data) - 1}/{len(self.data)}")
        if self.etag:
            request.send_header("ETag", self.etag)
        request.send_header("Content-Length", str(len(self.data) - begin))
        request.end_headers()
        stop = begin + step if isinstance(step, int) else len(self.data)
        request.wfile.write(self.data[begin:stop])


@pytest.fixture
def site(members: list[tuple[tarfile.TarInfo, bytes]]) -> Iterator[Site]:
    served = Site(tar(members))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        served.url = f"http://127.0.0.1:{server.server_port}/files/cifar-10-binary.tar.gz"
        yield served
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def download(site: Site, volume: Volume, *, archive: Archive | None = None, **more: object) -> list[float]:
    """Downloads, and returns the seconds that were slept between attempts."""
    naps: list[float] = []
    arguments: dict = {"volume": volume, "archive": archive or site.archive(), "sleep": naps.append, "timeout": 5.0}
    Downloader(**(arguments | more)).run()
    return naps


def opened_whole(volume: Volume) -> bool:
    dataset = open_dataset(DatasetSpec(), volume=volume)
    return (len(dataset.train), len(dataset.test)) == (80, 20)


def left_behind(volume: Volume) -> set[str]:
    return {path.name for path in volume.datasets.iterdir()} - {".download", ".cache"}


def test_what_was_downloaded_opens_and_is_watched_over_from_then_on(site: Site, volume: Volume):
    steps: list[tuple[int, int]] = []
    assert download(site, volume, progress=lambda *now: steps.append(now)) == []
    assert opened_whole(volume)
    assert left_behind(volume) == {"cifar10"}
    assert [path.name for path in (volume.datasets / ".download").iterdir()] == [".lock"]
    assert steps == sorted(steps) and steps[-1] == (len(site.data), len(site.data)) and len(steps) > 3
    path = volume.datasets / "cifar10" / "data_batch_1.bin"
    data = bytearray(path.read_bytes())
    data[77] ^= 4
    path.write_bytes(data)
    with pytest.raises(DatasetCorruptError, match="has changed since it was verified"):
        opened_whole(volume)


def test_files_that_are_there_are_not_fetched_again(site: Site, volume: Volume):
    download(site, volume)
    download(site, volume)
    assert len(site.asked) == 1


def test_cut_connections_are_resumed_where_they_were_cut(site: Site, volume: Volume):
    site.plan = [100_000, 50_000]
    assert download(site, volume) == [1.0, 2.0]
    assert opened_whole(volume)
    assert [asked.get("Range") for asked in site.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert [asked.get("If-Range") for asked in site.asked] == [None, '"v1"', '"v1"']


def test_later_process_goes_on_where_an_earlier_one_was_broken_off(site: Site, volume: Volume):
    def breaking_off(done: int, _total: int) -> None:
        if done > 120_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(site, volume, progress=breaking_off)
    assert left_behind(volume) == set()
    assert download(site, volume) == []
    assert opened_whole(volume)
    assert int(site.asked[1]["Range"].removeprefix("bytes=").removesuffix("-")) > 120_000


def test_server_that_ignores_ranges_is_read_from_the_start(site: Site, volume: Volume):
    site.plan = [100_000, "no-ranges"]
    download(site, volume)
    assert opened_whole(volume)


def test_server_that_sends_another_range_is_asked_for_all(site: Site, volume: Volume):
    site.plan = [100_000, "other-range"]
    download(site, volume)
    assert opened_whole(volume)
    assert "Range" not in site.asked[2]


def test_file_that_changed_on_the_server_is_read_from_the_start(site: Site, volume: Volume):
    archive, whole = site.archive(), site.data
    site.data, site.plan = bytes(len(whole)), [100_000, 503, 503, 503, 503]
    with pytest.raises(DownloadError, match="503"):
        download(site, volume, archive=archive)
    site.data, site.etag = whole, '"v2"'
    assert download(site, volume, archive=archive) == []
    assert opened_whole(volume)


def test_part_without_a_validator_that_proves_wrong_is_fetched_anew(site: Site, volume: Volume):
    site.etag = None
    part = volume.datasets / ".download" / "cifar-10-binary.tar.gz"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 1_000)
    assert download(site, volume) == [1.0]
    assert opened_whole(volume)
    assert [asked.get("Range") for asked in site.asked] == ["bytes=1000-", None]


@pytest.mark.parametrize("extra", [0, 7])
def test_part_that_is_as_long_as_the_archive_or_longer_is_never_trusted(site: Site, volume: Volume, extra: int):
    part = volume.datasets / ".download" / "cifar-10-binary.tar.gz"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(len(site.data) + extra))
    download(site, volume)
    assert opened_whole(volume)


def test_part_that_is_whole_is_not_fetched_again(site: Site, volume: Volume):
    part = volume.datasets / ".download" / "cifar-10-binary.tar.gz"
    part.parent.mkdir(parents=True)
    part.write_bytes(site.data)
    download(site, volume)
    assert opened_whole(volume) and site.asked == []


def test_wrong_checksum_puts_nothing_in_place(site: Site, volume: Volume):
    wrong = bytearray(site.data)
    wrong[5_000] ^= 1
    with pytest.raises(DownloadError, match="has the SHA-256") as caught:
        download(site, volume, archive=site.archive(bytes(wrong)))
    assert left_behind(volume) == set()
    assert not (volume.datasets / ".download" / "cifar-10-binary.tar.gz").exists()
    assert "By hand" in str(caught.value)


def test_file_of_another_length_is_refused_at_once(site: Site, volume: Volume):
    archive = site.archive()
    site.data = b"<html>Log in to the network of this hotel</html>"
    with pytest.raises(DownloadError, match="another file, of 48 bytes"):
        download(site, volume, archive=archive)
    assert len(site.asked) == 1


def test_refusal_is_told_at_once_and_an_overloaded_server_is_asked_again(site: Site, volume: Volume):
    site.plan = [404]
    with pytest.raises(DownloadError, match="refuses: 404"):
        download(site, volume)
    site.plan = [503, 429]
    assert download(site, volume) == [1.0, 2.0]
    assert opened_whole(volume)


def test_attempts_end_with_what_was_tried_and_how_to_do_it_by_hand(site: Site, volume: Volume):
    site.plan = [500] * 5
    with pytest.raises(DownloadError, match="after 5 attempts in a row: the server answers 500") as caught:
        download(site, volume)
    text = str(caught.value)
    assert site.url in text and str(volume.datasets / "cifar10") in text and site.archive().digest.sha256 in text


def test_attempts_that_get_on_do_not_count_against_it(site: Site, volume: Volume, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shared.data.download.PROGRESS_BYTES", 10_000)
    site.plan = [10_000] * 12
    assert set(download(site, volume)) == {1.0}
    assert opened_whole(volume)


def test_no_way_out_is_told_with_the_systems_reason(volume: Volume):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        port = server.server_port
    nowhere = Site(b"x", url=f"http://127.0.0.1:{port}/cifar-10-binary.tar.gz")
    with pytest.raises(DownloadError, match="refused"):
        download(nowhere, volume)


def test_silent_server_is_given_up_after_the_timeout(volume: Volume):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never says a word
        silent = Site(b"x", url=f"http://127.0.0.1:{server.getsockname()[1]}/cifar-10-binary.tar.gz")
        with pytest.raises(DownloadError, match="timed out"):
            download(silent, volume, timeout=0.05, attempts=2)


def evil(name: str, members: list[tuple[tarfile.TarInfo, bytes]]) -> list[tuple[tarfile.TarInfo, bytes]]:
    first, rest = members[0], members[1:]
    return {
        "traversal": [*members, member(f"{FOLDER}/../../escaped.bin", b"x")],
        "absolute": [*members, member("/tmp/escaped.bin", b"x")],
        "stranger": [*members, member(f"{FOLDER}/extra.bin", b"x")],
        "link": [first, member(f"{FOLDER}/data_batch_1.bin", type=tarfile.SYMTYPE, linkname="/etc/passwd"), *rest[1:]],
        "hard link": [*members, member(f"{FOLDER}/test_batch.bin", type=tarfile.LNKTYPE, linkname="/etc/passwd")],
        "device": [first, member(f"{FOLDER}/data_batch_1.bin", type=tarfile.CHRTYPE), *rest[1:]],
        "too large": [first, member(f"{FOLDER}/data_batch_1.bin", bytes(130_001)), *rest[1:]],
        "twice": [*members, rest[-1]],
        "lacking": members[:-1],
    }[name]


EVILS = {
    "traversal": "does not belong there",
    "absolute": "does not belong there",
    "stranger": "does not belong there",
    "link": "does not belong there",
    "hard link": "does not belong there",
    "device": "does not belong there",
    "too large": "more than 130,000",
    "twice": "twice",
    "lacking": r"does not hold test_batch\.bin",
}


@pytest.mark.parametrize("name", EVILS)
def test_archive_with_anything_unexpected_puts_nothing_in_place(
    site: Site, volume: Volume, members: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path, name: str
):
    site.data = tar(evil(name, members))
    with pytest.raises(DownloadError, match=EVILS[name]):
        download(site, volume)
    assert left_behind(volume) == set()
    assert not list(tmp_path.rglob("escaped.bin")) and not Path("/tmp/escaped.bin").exists()


def test_archive_that_is_none_is_refused(site: Site, volume: Volume):
    site.data = b"not an archive" * 100
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        download(site, volume)


def test_full_disk_is_told_and_nothing_half_written_stays(site: Site, volume: Volume, monkeypatch: pytest.MonkeyPatch):
    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        volume.datasets.mkdir(parents=True)
        (volume.datasets / ".download").mkdir()
        (volume.datasets / ".download" / "cifar-10-binary.tar.gz").write_bytes(site.data)
        patch.setattr("os.write", full)
        with pytest.raises(DownloadError, match="No space left") as caught:
            download(site, volume)
    assert left_behind(volume) == set()
    assert "Make room" in str(caught.value)
    download(site, volume)
    assert opened_whole(volume) and site.asked == []  # what was fetched was kept


def test_disk_that_takes_no_more_in_the_middle_of_a_download_is_told_and_the_part_is_kept(site: Site, volume: Volume):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
    try:
        with pytest.raises(DownloadError, match="File too large"):
            download(site, volume)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    download(site, volume)
    assert opened_whole(volume)
    assert int(site.asked[1]["Range"].removeprefix("bytes=").removesuffix("-")) > 100_000


def test_folder_that_is_in_the_way_is_never_removed(site: Site, volume: Volume):
    (volume.datasets / "cifar10").mkdir(parents=True)
    (volume.datasets / "cifar10" / "mine.txt").write_text("mine")
    with pytest.raises(DownloadError, match="something is here already"):
        download(site, volume)
    assert (volume.datasets / "cifar10" / "mine.txt").read_text() == "mine"
    assert site.asked == []


def test_empty_folder_is_not_in_the_way(site: Site, volume: Volume):
    (volume.datasets / "cifar10").mkdir(parents=True)
    download(site, volume)
    assert opened_whole(volume)


def test_downloads_at_the_same_time_fetch_once_and_all_succeed(site: Site, volume: Volume):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: download(site, volume), range(4)))
    assert len(site.asked) == 1 and opened_whole(volume)


def test_what_a_killed_download_began_to_unpack_is_removed(site: Site, volume: Volume):
    remains = volume.datasets / ".tmp-cifar10-1-abcd"
    remains.mkdir(parents=True)
    (remains / "data_batch_1.bin").write_bytes(b"x")
    download(site, volume)
    assert left_behind(volume) == {"cifar10"}


def test_official_archive_has_room_for_the_official_files():
    record = np.dtype((np.uint8, 3_073)).itemsize
    assert CIFAR10_ARCHIVE.members["data_batch_5.bin"] == 10_000 * record
    assert CIFAR10_ARCHIVE.name == "cifar-10-binary.tar.gz" and len(CIFAR10_ARCHIVE.members) == 8
