"""Fault matrix, rows 1, 3-7: the commit of a checkpoint under every fault at every call it makes."""

import contextlib
import errno
import os
from pathlib import Path

import pytest

from shared.checkpoints import CheckpointStore
from shared.layout import Volume
from tests.faults.commits import RUN, commit_step, listed_and_whole
from tests.faults.shim import Calls, lose_unsynced, wrapped

KILLED = 77


def fresh(root: Path, name: str) -> tuple[Path, CheckpointStore]:
    """A volume with step 1 committed."""
    root = root / name
    store = CheckpointStore(Volume(root).run(RUN))
    commit_step(store, 1)
    return root, store


def calls_of_a_commit(root: Path) -> list[str]:
    root, store = fresh(root, "counted")
    with wrapped(Calls(root)) as calls:
        commit_step(store, 2)
    return calls.made


def test_a_commit_syncs_each_file_and_both_folders(tmp_path):
    made = calls_of_a_commit(tmp_path)
    assert made.count("fsync") == 4 + 2  # raw, EMA, optimizer, manifest; the folder, its parent
    assert made.index("rename") > [i for i, name in enumerate(made) if name == "write"][-1]
    assert made[-2:] == ["fsync", "close"]


# The child only makes the calls that are under test and then ends, whatever threads other tests have left.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_f01_writer_killed_before_every_call(tmp_path):
    for number in range(1, len(calls_of_a_commit(tmp_path)) + 1):
        root, store = fresh(tmp_path, f"kill-{number}")

        def kill(at: int, _name: str, number: int = number) -> None:
            if at == number:
                os._exit(KILLED)

        child = os.fork()
        if child == 0:
            with wrapped(Calls(root, kill)):
                commit_step(store, 2)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
        assert listed_and_whole(store) in ([1], [1, 2])
        store.sweep()
        assert sorted(os.listdir(root / "runs" / RUN / "checkpoints")) == [str(step) for step in store.steps()]
        if 2 not in store.steps():
            commit_step(store, 2)
        assert listed_and_whole(store) == [1, 2]


class PowerLost(BaseException):
    """Raised in place of a call: nothing after it happens, not even tidying up."""


@pytest.mark.parametrize("keep_names", [True, False])
def test_f03_f04_power_lost_before_every_call(tmp_path, keep_names):
    first = Calls(tmp_path)
    with wrapped(first):
        commit_step(CheckpointStore(Volume(tmp_path / "first").run(RUN)), 1)
    total = len(first.made) + len(calls_of_a_commit(tmp_path))
    for number in range(1, total + 2):
        root = tmp_path / f"power-{number}"
        root.mkdir()
        store = CheckpointStore(Volume(root).run(RUN))

        def cut(at: int, _name: str, number: int = number) -> None:
            if at >= number:
                raise PowerLost

        acknowledged = []
        calls = Calls(root, cut)
        with wrapped(calls), contextlib.suppress(PowerLost):
            for step in (1, 2):
                commit_step(store, step)
                acknowledged.append(step)
        lose_unsynced(calls, keep_names=keep_names)
        assert listed_and_whole(store)[: len(acknowledged)] == acknowledged


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_f05_f06_every_call_fails_once(tmp_path, code):
    for number, name in enumerate(calls_of_a_commit(tmp_path), start=1):
        if name == "close":
            continue  # after a successful fsync its failure changes nothing that was promised
        root, store = fresh(tmp_path, f"{errno.errorcode[code]}-{number}")

        def fail(at: int, _name: str, number: int = number) -> None:
            if at == number:
                raise OSError(code, os.strerror(code))

        with wrapped(Calls(root, fail)), pytest.raises(OSError, match=os.strerror(code)):
            commit_step(store, 2)
        steps = listed_and_whole(store)
        # When the sync of the parent fails, which comes last, the new step is there whole but was not acknowledged.
        assert steps == [1] or (steps == [1, 2] and name in ("open", "fsync"))
        names = set(os.listdir(root / "runs" / RUN / "checkpoints"))
        assert names == {str(step) for step in steps}, "a failed commit leaves nothing behind"


def test_f06_a_sync_that_failed_is_never_asked_again_and_the_step_is_written_under_a_new_name(tmp_path):
    root, store = fresh(tmp_path, "sync")
    asked = []

    def fail_first_sync(_at: int, name: str) -> None:
        if name == "fsync":
            asked.append(name)
            if len(asked) == 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    first = Calls(root, fail_first_sync)
    with wrapped(first), pytest.raises(OSError, match=os.strerror(errno.EIO)):
        commit_step(store, 2)
    # After EIO the kernel may have dropped the pages and marked them clean: another fsync would say yes to nothing.
    assert first.made.count("fsync") == 1
    assert listed_and_whole(store) == [1]
    with wrapped(Calls(root)) as second:
        commit_step(store, 2)
    temporary = {path.split("/checkpoints/")[1].split("/")[0] for path in first.opened if "/checkpoints/.tmp" in path}
    again = {path.split("/checkpoints/")[1].split("/")[0] for path in second.opened if "/checkpoints/.tmp" in path}
    assert len(temporary) == len(again) == 1
    assert not temporary & again
    assert listed_and_whole(store) == [1, 2]


def test_f07_short_writes_are_continued_and_none_is_taken_for_whole(tmp_path, monkeypatch):
    _, store = fresh(tmp_path, "short")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:7])))
    commit_step(store, 2)
    assert listed_and_whole(store) == [1, 2]
    monkeypatch.setattr(os, "write", lambda descriptor, data: 0)
    with pytest.raises(OSError, match="wrote nothing"):
        commit_step(store, 3)
    assert listed_and_whole(store) == [1, 2]
