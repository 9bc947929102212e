"""Runs that are deleted, and those that are not, since somebody needs them or has just gone before."""

import os
import threading
from typing import Any

import pytest

from shared.errors import ConflictError, NotFoundError
from shared.locks import exports_lock
from shared.records import Alias, Aliases, Move, write_record
from tests.gateway.steering.ways import running, stopped


def export(bench: Any, run: str, step: int) -> None:
    folder = bench.folder(run).export(step)
    folder.mkdir(parents=True)
    (folder / "manifest.json").touch()


def alias(bench: Any, run: str, *names: str) -> None:
    """Has aliases point at step 300."""
    moved = Alias(moves=(Move(step=300, precision_at_1=0.5, reason="", time=0),))
    write_record(bench.folder(run).aliases, Aliases(aliases=dict.fromkeys(names, moved)))


def test_a_deleted_run_is_gone_with_its_files_and_its_name_can_be_used_no_more(bench: Any) -> None:
    run = stopped(bench)
    bench.control.delete(run)
    assert list(bench.volume.runs.iterdir()) == []
    with pytest.raises(NotFoundError):
        bench.runs.show(run)
    bench.step()
    assert bench.runs.awake() == []


def test_a_run_that_an_alias_was_set_to_by_hand_is_not_deleted(bench: Any) -> None:
    run = stopped(bench)
    alias(bench, run, "best", "stable")
    export(bench, run, 300)
    with pytest.raises(ConflictError, match="point at it: stable at step 300"):
        bench.control.delete(run)
    alias(bench, run, "best")
    bench.control.delete(run)


def test_an_alias_whose_export_is_not_there_keeps_no_run(bench: Any) -> None:
    run = stopped(bench)
    alias(bench, run, "stable")
    bench.control.delete(run)
    assert not bench.folder(run).root.exists()


def test_a_run_of_which_an_alias_is_being_set_in_this_moment_is_not_deleted(bench: Any) -> None:
    run = stopped(bench)
    export(bench, run, 300)
    refused: list[ConflictError] = []

    def delete() -> None:
        try:
            bench.control.delete(run)
        except ConflictError as error:
            refused.append(error)

    thread = threading.Thread(target=delete)
    with exports_lock(bench.folder(run)):  # as the one who sets it
        thread.start()
        thread.join(0.1)
        assert thread.is_alive(), "it waits"
        assert bench.state(run) == "stopped", "and holds nobody up who asks for something else"
        alias(bench, run, "stable")
    thread.join(10)
    assert "stable at step 300" in str(refused[0])
    assert bench.folder(run).spec.exists()


def test_a_run_that_two_delete_at_once_is_deleted_once(bench: Any) -> None:
    run = stopped(bench)
    outcomes: list[str] = []

    def delete() -> None:
        try:
            bench.control.delete(run)
            outcomes.append("deleted")
        except NotFoundError:
            outcomes.append("not found")

    threads = [threading.Thread(target=delete) for _ in range(2)]
    with exports_lock(bench.folder(run)):
        for thread in threads:
            thread.start()
        threads[0].join(0.1)
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["deleted", "not found"]
    assert list(bench.volume.runs.iterdir()) == []


def test_a_run_is_deleted_on_a_disk_that_is_too_full_for_the_lock(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stopped(bench)
    mkdir = os.mkdir

    def full(path: Any, *arguments: Any, **named: Any) -> None:
        if str(path).endswith("exports"):
            raise OSError(28, "No space left on device")
        mkdir(path, *arguments, **named)

    monkeypatch.setattr(os, "mkdir", full)
    bench.control.delete(run)
    assert not bench.folder(run).root.exists()


def test_a_run_whose_trainer_is_still_there_is_not_deleted(bench: Any) -> None:
    run = running(bench)
    bench.report(run, "completed", step=100)
    assert bench.state(run) == "completed"
    with pytest.raises(ConflictError, match="cannot be deleted"):
        bench.control.delete(run)
