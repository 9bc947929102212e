"""Fault matrix, rows 13 and 14: an evaluator killed before every call it makes while it judges a checkpoint."""

import os
from pathlib import Path

import pytest

from shared.answers import read_answers
from shared.layout import Volume
from shared.records import Verdict, read_record
from tests.evaluator.evaluator_parts import EMA, Evaluator, RunMaker
from tests.faults.shim import Calls, wrapped

KILLED = 77


def fresh(root: Path) -> tuple[Volume, Path]:
    volume = Volume(root)
    runs = RunMaker(volume)
    folder = runs.run()
    runs.commit(folder, 10)
    return volume, folder


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_f13_f14_evaluator_killed_before_every_call(tmp_path):
    volume, _ = fresh(tmp_path / "counted")
    with wrapped(Calls(volume.root)) as calls:
        assert Evaluator(volume).loop.step()
    assert len(calls.made) > 30
    for number in range(1, len(calls.made) + 1):
        volume, folder = fresh(tmp_path / f"kill-{number}")

        def kill(at: int, _name: str, number: int = number) -> None:
            if at == number:
                os._exit(KILLED)

        child = os.fork()
        if child == 0:
            with wrapped(Calls(volume.root, kill)):
                Evaluator(volume, name="killed").loop.step()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
        standing = {kind: folder.verdict(10, kind) for kind in ("raw", EMA) if folder.verdict(10, kind).exists()}
        before = {kind: path.read_bytes() for kind, path in standing.items()}

        survivor = Evaluator(volume, name="survivor")
        survivor.loop.step()
        survivor.clock.move(31)
        survivor.loop.step()
        for kind in ("raw", EMA):
            verdict = read_record(folder.verdict(10, kind), Verdict)
            assert verdict.status == "judged"
            assert len(read_answers(folder, kind, verdict).correct) == verdict.examples
        assert {kind: path.read_bytes() for kind, path in standing.items()} == before
        assert [source.rsplit("/", 1)[1] for source in survivor.judge.asked] == [
            kind for kind in ("raw", EMA) if kind not in standing
        ]
        assert files(folder.evaluations / "10") == [f"{EMA}.answers", f"{EMA}.json", "raw.answers", "raw.json"]
        assert files(folder.leases) == [".lock"]


def test_f16_evaluator_judges_what_a_dead_trainer_left_and_waits_for_its_successor(tmp_path):
    volume, folder = fresh(tmp_path)
    evaluator = Evaluator(volume)
    assert evaluator.loop.step()
    assert not evaluator.loop.step(), "nothing is made up while no trainer commits"
    evaluator.clock.move(3600)
    assert not evaluator.loop.step()
    RunMaker(volume).commit(folder, 20)
    assert evaluator.loop.step()
    assert [read_record(folder.verdict(step, EMA), Verdict).status for step in (10, 20)] == ["judged", "judged"]
    assert evaluator.metric("tandem_evaluation_problems_total", code="io") is None
