"""The curves TensorBoard draws of verdicts, read back by its own reader."""

import multiprocessing
import shutil

import pytest

from services.evaluator.tensorboard import TensorBoardCurves
from shared.eventfiles import newest_file
from shared.records import Verdict, write_record
from shared.spec import CadenceSpec
from tests.shared.board import read_board, scalars

EMA = "ema-0.9"


@pytest.fixture
def problems():
    return []


@pytest.fixture
def curves(problems):
    return TensorBoardCurves(on_problem=problems.append)


@pytest.fixture
def folder(runs):
    return runs.run()


def judge(folder, step, precision, kind="raw", status="judged"):
    weights, decay = ("raw", None) if kind == "raw" else ("ema", float(kind.removeprefix("ema-")))
    figures = {"precision_at_1": precision, "precision_at_k": 1.0, "loss": 0.5} if status == "judged" else {}
    verdict = Verdict(
        run=folder.id, step=step, weights=weights, decay=decay, status=status, time=1000.0 + step, **figures
    )
    write_record(folder.verdict(step, kind), verdict)


def curve(folder, kind="raw", tag="precision_at_1"):
    return [(step, round(value, 5)) for step, value in scalars(folder.tensorboard("eval") / kind, tag)]


def files(folder, kind="raw"):
    return [path.name for path in (folder.tensorboard("eval") / kind).iterdir()]


def test_verdicts_on_raw_and_averaged_weights_become_curves_of_one_plot(evaluator, runs):
    folder = runs.run()
    for step in (10, 20, 30):
        runs.commit(folder, step)
        while evaluator.loop.step():
            pass
    for kind in ("raw", EMA):
        board = read_board(folder.tensorboard("eval") / kind)
        assert set(board.Tags()["scalars"]) == {"precision_at_1", "precision_at_2", "loss"}
        assert curve(folder, kind) == [(10, 1.0), (20, 1.0), (30, 1.0)]
    assert [path.name for path in sorted(folder.tensorboard("eval").iterdir())] == [EMA, "lock", "raw"]


def test_points_carry_the_time_of_their_verdict(curves, runs, folder):
    judge(folder, 10, 0.5)
    curves.draw(folder, runs.spec, "raw")
    (point,) = read_board(folder.tensorboard("eval") / "raw").Scalars("precision_at_1")
    assert point.wall_time == 1010.0


def test_newer_verdicts_are_appended_to_the_file(curves, runs, folder):
    for step in (10, 20, 30):
        judge(folder, step, step / 100)
        curves.draw(folder, runs.spec, "raw")
        curves.draw(folder, runs.spec, "raw")
    assert curve(folder) == [(10, 0.1), (20, 0.2), (30, 0.3)]
    assert len(files(folder)) == 1


def test_steps_ascend_even_where_older_checkpoints_were_judged_later(curves, runs, folder):
    for step in (30, 10, 20, 40):
        judge(folder, step, step / 100)
        curves.draw(folder, runs.spec, "raw")
        assert len(files(folder)) == 1
    assert curve(folder) == [(10, 0.1), (20, 0.2), (30, 0.3), (40, 0.4)]


def test_a_reader_that_is_looking_sees_the_steps_that_came_later(curves, runs, folder):
    judge(folder, 30, 0.3)
    curves.draw(folder, runs.spec, "raw")
    board = read_board(folder.tensorboard("eval") / "raw")
    judge(folder, 10, 0.1)
    curves.draw(folder, runs.spec, "raw")
    judge(folder, 40, 0.4)
    curves.draw(folder, runs.spec, "raw")
    for _ in range(2):
        board.Reload()
    assert [point.step for point in board.Scalars("precision_at_1")] == [10, 30, 40]


def test_a_file_full_of_repetitions_is_made_anew_under_the_eyes_of_a_reader(problems, runs, folder):
    curves = TensorBoardCurves(on_problem=problems.append, small_bytes=0)
    judge(folder, 100, 0.1)
    curves.draw(folder, runs.spec, "raw")
    board = read_board(folder.tensorboard("eval") / "raw")
    names = set(files(folder))
    for step in range(99, 60, -1):
        judge(folder, step, 0.2)
        curves.draw(folder, runs.spec, "raw")
        board.Reload()
        names |= set(files(folder))
        assert len(files(folder)) <= 2
    assert len(names) > 2
    assert [point.step for point in board.Scalars("precision_at_1")] == list(range(61, 101))
    assert [step for step, _ in curve(folder)] == list(range(61, 101))


def test_what_could_not_be_judged_has_no_point(curves, runs, folder):
    judge(folder, 10, 0.1)
    judge(folder, 20, None, status="corrupt")
    judge(folder, 30, 0.3)
    curves.draw(folder, runs.spec, "raw")
    assert curve(folder) == [(10, 0.1), (30, 0.3)]


def test_curves_are_derived_again_when_their_files_are_gone_or_damaged(curves, runs, folder):
    for step in (10, 20, 30):
        judge(folder, step, step / 100)
    curves.draw(folder, runs.spec, "raw")
    path = newest_file(folder.tensorboard("eval") / "raw")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    curves.draw(folder, runs.spec, "raw")
    assert curve(folder) == [(10, 0.1), (20, 0.2), (30, 0.3)]
    shutil.rmtree(folder.tensorboard("eval"))
    curves.draw(folder, runs.spec, "raw")
    assert curve(folder) == [(10, 0.1), (20, 0.2), (30, 0.3)]


def test_what_a_killed_evaluator_left_undrawn_is_caught_up_at_the_next_start(curves, runs, folder):
    judge(folder, 10, 0.1)
    judge(folder, 10, 0.2, kind=EMA)
    runs.run("20260101-000000-run-0002")
    curves.catch_up(runs.volume)
    assert curve(folder) == [(10, 0.1)]
    assert curve(folder, EMA) == [(10, 0.2)]


def test_a_run_without_summaries_has_no_curves(curves, runs, folder):
    judge(folder, 10, 0.1)
    curves.draw(folder, runs.spec.model_copy(update={"cadence": CadenceSpec(summary_steps=None)}), "raw")
    assert not folder.tensorboard("eval").exists()


def test_curves_that_cannot_be_drawn_are_counted_told_once_and_caught_up(curves, runs, folder, problems, caplog):
    place = folder.tensorboard("eval")
    place.parent.mkdir(parents=True)
    place.write_text("a file where the folder is to be")
    for step in (10, 20):
        judge(folder, step, step / 100)
        curves.draw(folder, runs.spec, "raw")
    assert problems == ["curves", "curves"]
    assert len(caplog.records) == 1
    place.unlink()
    judge(folder, 30, 0.3)
    curves.draw(folder, runs.spec, "raw")
    assert curve(folder) == [(10, 0.1), (20, 0.2), (30, 0.3)]


def _judge_and_draw(volume, run, spec, steps):
    folder = volume.run(run)
    curves = TensorBoardCurves(on_problem=lambda code: None)
    for step in steps:
        judge(folder, step, step / 100)
        curves.draw(folder, spec, "raw")


def test_evaluators_that_share_the_work_lose_no_point(runs, folder):
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_judge_and_draw, args=(runs.volume, folder.id, runs.spec, range(first, 41, 4)))
        for first in range(1, 5)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert curve(folder) == [(step, step / 100) for step in range(1, 41)]
    assert len(files(folder)) == 1
