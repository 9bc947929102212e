from pathlib import Path

import pytest

from services.gateway.lock import VolumeLock
from shared.errors import ConflictError
from shared.layout import Volume


def lock(root: Path, pid: int) -> VolumeLock:
    return VolumeLock(volume=Volume(root), holder={"pid": pid, "host": "here"})


def test_a_second_holder_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    first = lock(tmp_path, 1)
    first.take()
    first.tell(address="http://127.0.0.1:8000")
    with pytest.raises(ConflictError, match=r"pid 1, host here, address http://127\.0\.0\.1:8000") as caught:
        lock(tmp_path, 2).take()
    assert caught.value.where == str(tmp_path / "gateway" / "lock")
    first.release()


def test_it_can_be_taken_again_after_its_release(tmp_path: Path) -> None:
    first, second = lock(tmp_path, 1), lock(tmp_path, 2)
    first.take()
    first.release()
    second.take()
    with pytest.raises(ConflictError, match="pid 2"):
        first.take()
    second.release()


def test_a_refused_one_does_not_spoil_what_the_holder_wrote(tmp_path: Path) -> None:
    first = lock(tmp_path, 1)
    first.take()
    for pid in (2, 3):
        with pytest.raises(ConflictError, match="pid 1"):
            lock(tmp_path, pid).take()
    first.release()
