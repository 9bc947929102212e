import fcntl
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shared.layout import RunFolder, Volume
from shared.locks import exclusive_lock, exports_lock, without_trainer

HOLDER = """
import sys
from pathlib import Path
from shared.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_one_waits_until_the_first_lets_go(tmp_path: Path):
    entered = threading.Event()

    def second() -> None:
        with exclusive_lock(tmp_path / "deep" / "lock"):
            entered.set()

    thread = threading.Thread(target=second)
    with exclusive_lock(tmp_path / "deep" / "lock"):
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(10)
    thread.join()


def test_no_folder_is_made_for_a_lock_within_one_that_is_gone(tmp_path: Path):
    with pytest.raises(FileNotFoundError), exclusive_lock(tmp_path / "run" / "deep" / "lock", within=tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_lock_of_a_killed_process_is_free(tmp_path: Path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        assert select.select([holder.stdout], [], [], 30)[0] and holder.stdout.readline() == b"held\n"
        holder.kill()
        holder.wait(10)
        with exclusive_lock(tmp_path / "lock"):
            pass


def test_a_lock_file_that_another_was_copied_over_while_it_was_waited_for_guards_nothing(tmp_path: Path):
    path, entered, done = tmp_path / "lock", threading.Event(), threading.Event()

    def second() -> None:
        with exclusive_lock(path):
            entered.set()
            done.wait(10)

    thread = threading.Thread(target=second)
    with exclusive_lock(path):
        thread.start()
        assert not entered.wait(0.1)
        (tmp_path / "copy").touch()
        (tmp_path / "copy").rename(path)
    assert entered.wait(10)
    with path.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    done.set()
    thread.join()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = Volume(tmp_path).run("20260101-000000-a-0001")
    folder.root.mkdir(parents=True)
    return folder


def test_the_lock_of_a_run_that_is_gone_cannot_be_had_and_makes_nothing(run: RunFolder):
    with exports_lock(run):
        assert run.exports.is_dir()
    run.root.rename(run.root.with_name(".trash"))
    with pytest.raises(FileNotFoundError), exports_lock(run):
        pass
    assert not run.root.exists()


def test_who_waits_for_the_lock_while_the_run_is_removed_learns_that(run: RunFolder):
    waiting, refused = threading.Event(), threading.Event()

    def second() -> None:
        waiting.set()
        try:
            with exports_lock(run):
                pass
        except FileNotFoundError:
            refused.set()

    thread = threading.Thread(target=second)
    with exports_lock(run):
        thread.start()
        assert waiting.wait(10)
        assert not refused.wait(0.1)
        run.root.rename(run.root.with_name(".trash"))
    thread.join(10)
    assert refused.is_set()
    assert not run.root.exists()


def test_the_lock_of_a_trainer_is_had_only_where_none_works_and_keeps_others_away(tmp_path: Path):
    folder = Volume(tmp_path).run("20260101-000000-run-0001")
    with without_trainer(folder) as alone:
        assert not alone, "there is no such run"
    assert not folder.root.exists()

    folder.trainer.mkdir(parents=True)
    with without_trainer(folder) as alone, without_trainer(folder) as second:
        assert (alone, second) == (True, False)
    with without_trainer(folder) as alone:
        assert alone
