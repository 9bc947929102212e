import os
import threading

import pytest

from shared import atomic
from shared.errors import NotWritableError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_committed_folder_appears_whole_and_alone(tmp_path):
    final = tmp_path / "runs" / "7"
    with atomic.committing(final) as folder:
        digest = folder.write("a", b"abc")
        assert not final.exists()
    assert (final / "a").read_bytes() == b"abc"
    assert digest.size == 3
    assert names(final.parent) == ["7"]


def test_a_folder_whose_block_raises_is_not_there_and_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="no"), atomic.committing(tmp_path / "7") as folder:
        folder.write("a", b"abc")
        raise RuntimeError("no")
    assert names(tmp_path) == []


def test_a_committed_folder_is_never_replaced(tmp_path):
    with atomic.committing(tmp_path / "7") as folder:
        folder.write("a", b"first")
    with pytest.raises(FileExistsError), atomic.committing(tmp_path / "7") as folder:
        folder.write("a", b"second")
    assert (tmp_path / "7" / "a").read_bytes() == b"first"
    assert names(tmp_path) == ["7"]


def test_a_reader_of_a_replaced_file_sees_the_old_or_the_new_one(tmp_path):
    path = tmp_path / "record"
    values = {bytes([65 + i]) * 5000 for i in range(20)}
    atomic.replace_file(path, min(values))
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for value in sorted(values):
        atomic.replace_file(path, value)
    done.set()
    reader.join()
    assert seen <= values


def test_whoever_creates_a_file_first_wins(tmp_path):
    path = tmp_path / "verdict"
    outcomes = []
    start = threading.Barrier(8)

    def create(number: int) -> None:
        start.wait()
        outcomes.append((atomic.create_file(path, b"%d" % number), number))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for won, number in outcomes if won]
    assert len(winners) == 1
    assert path.read_bytes() == b"%d" % winners[0]
    assert names(tmp_path) == ["verdict"]


def test_an_appender_puts_a_line_after_a_torn_one_on_a_line_of_its_own(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2')
    lines = atomic.LineAppender(path)
    lines.append(b'{"a": 3}')
    lines.close()
    lines.append(b'{"a": 4}')
    lines.close()
    assert path.read_bytes() == b'{"a": 1}\n{"a": 2\n{"a": 3}\n{"a": 4}\n'


def test_a_removed_folder_loses_its_name_before_its_files(tmp_path, monkeypatch):
    with atomic.committing(tmp_path / "7") as folder:
        folder.write("a", b"abc")
    monkeypatch.setattr("shutil.rmtree", lambda *args, **kwargs: None)  # killed before the files went
    atomic.remove_folder(tmp_path / "7")
    assert not (tmp_path / "7").exists()
    monkeypatch.undo()
    assert len(atomic.sweep(tmp_path)) == 1
    assert names(tmp_path) == []
    atomic.remove_folder(tmp_path / "7")  # missing is fine


def test_sweeping_leaves_what_is_committed(tmp_path):
    atomic.replace_file(tmp_path / "kept", b"")
    (tmp_path / ".tmp-7-1-00").mkdir()
    (tmp_path / ".tmp-7-1-00" / "raw").write_bytes(b"half")
    (tmp_path / ".tmp-record-1-00").write_bytes(b"half")
    atomic.sweep(tmp_path)
    assert names(tmp_path) == ["kept"]
    assert atomic.sweep(tmp_path / "missing") == []


def test_a_folder_that_cannot_be_written_to_is_named_with_the_user(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotWritableError) as caught:
        atomic.probe_writable(tmp_path / "file" / "volume")
    assert str(tmp_path / "file" / "volume") in str(caught.value)
    assert str(os.getuid()) in caught.value.message
    atomic.probe_writable(tmp_path / "new" / "volume")
    assert names(tmp_path / "new" / "volume") == []


def test_a_folder_is_made_within_one_that_is_there_or_not_at_all(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="run"):
        atomic.make_folder(run / "evaluations" / "10", within=run)
    assert not run.exists()
    run.mkdir()
    atomic.make_folder(run / "evaluations" / "10", within=run)
    assert (run / "evaluations" / "10").is_dir()
