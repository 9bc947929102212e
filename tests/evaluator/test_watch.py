import threading
import time

import pytest

from services.evaluator.watch import InotifyWatch, PollingWatch, watch_volume

LONG = 20.0


@pytest.fixture
def watch(volume):
    volume.runs.mkdir()
    try:
        watch = InotifyWatch(volume=volume, stopping=lambda: False)
    except OSError as error:
        pytest.skip(f"no inotify here: {error}")
    yield watch
    watch.close()


def test_inotify_wakes_for_a_new_run(watch, volume):
    watch.follow([])
    (volume.runs / "20260101-000000-run-0001").mkdir()
    assert watch.wait(LONG) == {"20260101-000000-run-0001"}


def test_inotify_wakes_when_a_checkpoint_is_committed(watch, runs):
    folder = runs.run()
    runs.commit(folder, 10)
    watch.follow([folder])
    assert watch.wait(0) == set()
    committer = threading.Timer(0.2, runs.commit, args=(folder, 20))
    committer.start()
    started = time.monotonic()
    assert watch.wait(LONG) == {folder.id}
    assert time.monotonic() - started < LONG / 2
    committer.join()


def test_inotify_wakes_for_the_first_checkpoint_of_a_run(watch, runs):
    folder = runs.run()
    watch.follow([folder])
    runs.commit(folder, 10)
    assert watch.wait(LONG) == {folder.id}
    watch.follow([folder])
    runs.commit(folder, 20)
    assert watch.wait(LONG) == {folder.id}


def test_half_written_checkpoints_wake_nobody(watch, runs):
    folder = runs.run()
    runs.commit(folder, 10)
    watch.follow([folder])
    (folder.checkpoints / ".tmp-20-1-abcd").mkdir()
    assert watch.wait(0.3) == set()


def test_inotify_stops_waiting_when_a_stop_is_asked_for(volume):
    volume.runs.mkdir()
    watch = InotifyWatch(volume=volume, stopping=lambda: True)
    started = time.monotonic()
    assert watch.wait(LONG) == set()
    assert time.monotonic() - started < LONG / 2
    watch.close()


def test_a_folder_that_is_removed_and_comes_back_is_watched_again(watch, runs, volume):
    folder = runs.run()
    watch.follow([folder])
    folder.spec.unlink()
    folder.root.rmdir()
    watch.wait(0)
    runs.run()
    watch.wait(0)
    watch.follow([folder])
    runs.commit(folder, 10)
    assert watch.wait(LONG) == {folder.id}


def test_beyond_its_limit_inotify_leaves_runs_to_polling(volume, runs):
    folders = [runs.run(f"20260101-000000-run-{number:04}") for number in range(3)]
    watch = InotifyWatch(volume=volume, stopping=lambda: False, limit=2)
    watch.follow(folders)
    for folder in folders:
        (folder.root / "checkpoints").mkdir()
    assert watch.wait(0.3) == {folders[0].id}
    watch.close()


def test_polling_only_sleeps(volume):
    slept = []
    watch = PollingWatch(sleep=slept.append)
    watch.follow([])
    assert watch.wait(0.5) == set()
    watch.close()
    assert slept == [0.5]


def test_the_watch_of_a_volume_works_here(volume):
    watch = watch_volume(volume, stopping=lambda: False, sleep=lambda seconds: None)
    assert watch.wait(0) == set()
    watch.close()
