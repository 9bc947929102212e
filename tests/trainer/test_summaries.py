"""Event files of whole trainings in this process: what lies in them after stops, resumes and full disks."""

from pathlib import Path

import pytest

from services.trainer.summaries import log
from shared.checkpoints import CheckpointStore
from shared.layout import RunFolder
from tests.shared.board import read_board, scalars
from tests.trainer.numpy_engine import bytes_of
from tests.trainer.runs import Trainer, small_spec


def spec_with(summary_steps: int | None, **changes):
    return small_spec(cadence={"log_steps": 5, "checkpoint_steps": 10, "summary_steps": summary_steps}, **changes)


def shown(folder: RunFolder, tag: str = "learning_rate") -> list[int]:
    return [step for step, _ in scalars(folder.tensorboard("train"), tag)]


def final_weights(trainer: Trainer) -> dict[str, bytes]:
    checkpoint = CheckpointStore(trainer.folder).open(40)
    return bytes_of({kind: checkpoint.load(kind) for kind in ("raw", "ema-0.9999", "optimizer")})


def test_a_run_is_shown_at_each_interval(trainer: Trainer) -> None:
    trainer.write_spec(spec_with(8))
    assert trainer.train() == 0
    assert shown(trainer.folder) == [8, 16, 24, 32, 40]
    board = read_board(trainer.folder.tensorboard("train"))
    assert board.Histograms("weights/kernel")[-1].histogram_value.num == sum(
        board.Histograms("weights/kernel")[-1].histogram_value.bucket
    )
    assert trainer.engine is not None
    assert scalars(trainer.folder.tensorboard("train"), "losses/total/raw")[-1] == (
        40,
        pytest.approx(trainer.engine.losses().loss),
    )


def test_without_an_interval_there_are_no_event_files(trainer: Trainer) -> None:
    trainer.write_spec(spec_with(None))
    assert trainer.train() == 0
    assert not trainer.folder.tensorboard("train").exists()


def test_checkpoints_are_the_same_with_and_without(trainer: Trainer, tmp_path: Path) -> None:
    other = Trainer(trainer.volume, trainer.volume.run("20260101-000000-run-0001"))
    for one, every in ((trainer, 3), (other, None)):
        one.write_spec(spec_with(every))
        assert one.train() == 0
    assert final_weights(trainer) == final_weights(other)


def test_steps_made_again_after_a_crash_are_shown_once(trainer: Trainer) -> None:
    def break_down(step: int) -> None:
        if step == 29:
            raise RuntimeError("power cut")

    trainer.write_spec(spec_with(4))
    trainer.before_step = break_down
    assert trainer.train() == 1
    assert shown(trainer.folder) == [4, 8, 12, 16, 20, 24, 28]
    newest = CheckpointStore(trainer.folder).steps()[-1]

    trainer.before_step = lambda step: None
    assert trainer.train() == 0
    assert newest < 28, "nothing was made again"
    assert shown(trainer.folder) == [4, 8, 12, 16, 20, 24, 28, 32, 36, 40]
    assert len(list(trainer.folder.tensorboard("train").iterdir())) == 1


def test_event_files_that_cannot_be_written_stop_nothing_and_are_told_once(
    trainer: Trainer, caplog: pytest.LogCaptureFixture
) -> None:
    trainer.write_spec(spec_with(5))
    place = trainer.folder.tensorboard("train")
    place.parent.mkdir(parents=True)
    place.write_text("a file where the folder is to be")

    def mend(step: int) -> None:
        if step == 25:
            place.unlink()

    trainer.before_step = mend
    assert trainer.train() == 0
    assert [record.levelname for record in caplog.records if record.name == log.name] == ["WARNING"]
    assert shown(trainer.folder) == [30, 35, 40]
