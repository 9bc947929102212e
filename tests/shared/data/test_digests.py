import hashlib
import os
from pathlib import Path

from shared.data.digests import file_digest, fingerprint


def digest(path: Path, notes: Path, *, cheap_bytes: int = 10) -> str:
    return file_digest(path, notes=notes, cheap_bytes=cheap_bytes).sha256


def test_small_file_is_read_each_time_and_leaves_no_note(tmp_path: Path):
    path = tmp_path / "small"
    path.write_bytes(b"0123456789")
    assert digest(path, tmp_path / "notes") == hashlib.sha256(b"0123456789").hexdigest()
    assert not (tmp_path / "notes").exists()


def test_large_file_is_read_once_while_it_stays_as_it_is(tmp_path: Path):
    path, notes = tmp_path / "large", tmp_path / "notes"
    path.write_bytes(b"x" * 11)
    first = digest(path, notes)
    (note,) = (notes / "digests").iterdir()
    note.write_text(note.read_text().replace(first, "0" * 64))
    assert digest(path, notes) == "0" * 64  # so the note was believed


def test_large_file_that_changed_is_read_anew_even_with_its_old_size_and_time(tmp_path: Path):
    path, notes = tmp_path / "large", tmp_path / "notes"
    path.write_bytes(b"x" * 11)
    digest(path, notes)
    stat = path.stat()
    path.write_bytes(b"y" * 11)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digest(path, notes) == hashlib.sha256(b"y" * 11).hexdigest()


def test_note_that_cannot_be_read_is_written_anew(tmp_path: Path):
    path, notes = tmp_path / "large", tmp_path / "notes"
    path.write_bytes(b"x" * 11)
    first = digest(path, notes)
    (note,) = (notes / "digests").iterdir()
    note.write_text("{")
    assert digest(path, notes) == first
    assert first in note.read_text()


def test_fingerprint_follows_kind_and_every_part_and_not_their_order():
    assert fingerprint("a", {"x": 1, "y": "z"}) == fingerprint("a", {"y": "z", "x": 1})
    several = [fingerprint("a", {"x": 1}), fingerprint("b", {"x": 1}), fingerprint("a", {"x": 2}), fingerprint("a", {})]
    assert len(set(several)) == 4
