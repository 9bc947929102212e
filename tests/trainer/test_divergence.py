"""Runs that diverge: found, failed or rolled back to a lower rate, and exact all the same."""

import math

import pytest

from services.trainer.divergence import DivergenceWatch
from services.trainer.engine import Losses
from shared.checkpoints import CheckpointStore
from shared.errors import DivergedError
from shared.lifecycle import StopEvent
from shared.records import Rollback, Rollbacks, SeriesPoint, read_lines, read_record
from shared.spec import DivergenceSpec
from tests.trainer.numpy_engine import bytes_of
from tests.trainer.runs import Trainer, small_spec

KINDS = ("raw", "ema-0.9999", "optimizer")
ROLLBACK = {"action": "rollback", "rollbacks": 2, "rate_factor": 0.5}


def losses(loss: float, cross_entropy: float = 1.0) -> Losses:
    return Losses(loss=loss, cross_entropy=cross_entropy, average_loss=loss, learning_rate=0.1)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_has_diverged(loss: float) -> None:
    with pytest.raises(DivergedError, match=f"the loss is {loss}"):
        DivergenceWatch(rule=DivergenceSpec(), classes=10).check(5, losses(loss))


def test_a_loss_has_exploded_when_it_is_so_many_times_that_of_guessing() -> None:
    watch = DivergenceWatch(rule=DivergenceSpec(explosion=10), classes=10)
    watch.check(5, losses(1.0, 10 * math.log(10) - 0.01))
    with pytest.raises(DivergedError, match="exploded"):
        watch.check(5, losses(1.0, 10 * math.log(10) + 0.01))
    DivergenceWatch(rule=DivergenceSpec(explosion=None), classes=10).check(5, losses(1.0, 1e30))


def test_the_rate_is_lower_from_each_rollback_on() -> None:
    made = Rollbacks(
        rollbacks=tuple(
            Rollback(run="r", step=step, diverged=step + 5, factor=0.5, reason="", time=0.0) for step in (20, 20, 40)
        )
    )
    assert [made.rate_factor(step) for step in (0, 19, 20, 39, 40)] == [1, 1, 0.25, 0.25, 0.125]


def spoiling(trainer: Trainer, *, at: int, above: float) -> None:
    """Makes a weight no number at that step, for as long as the rate is above a bound."""

    def before(step: int) -> None:
        if trainer.engine is not None and step == at and trainer.engine._rate > above:
            trainer.engine.spoil()

    trainer.settings["trainer_steps_per_call"] = 1
    trainer.before_step = before


def contents(trainer: Trainer, step: int) -> dict[str, bytes]:
    checkpoint = CheckpointStore(trainer.folder).open(step)
    return bytes_of({kind: checkpoint.load(kind) for kind in KINDS})


def test_f26_a_run_that_diverges_fails_and_keeps_its_last_good_checkpoint(trainer: Trainer) -> None:
    spoiling(trainer, at=23, above=0.0)
    assert trainer.train() == 1
    assert trainer.status().failure["code"] == "diverged"  # type: ignore[index]
    assert CheckpointStore(trainer.folder).steps() == [10, 20]
    assert not trainer.folder.rollbacks.exists()


def test_a_run_goes_back_to_a_lower_rate_when_its_spec_says_so(trainer: Trainer) -> None:
    trainer.write_spec(small_spec(on_divergence=ROLLBACK))
    spoiling(trainer, at=23, above=0.06)
    assert trainer.train() == 0
    assert (trainer.status().phase, trainer.status().step) == ("completed", 40)
    (event,) = trainer.events("rolled_back")
    assert (event.step, event.details) == (20, {"diverged": 25, "factor": 0.5})
    rates = {point.step: point.learning_rate for _, point in read_lines(trainer.folder.series, SeriesPoint)}
    assert rates[15] == pytest.approx(0.1)
    assert rates[40] == pytest.approx(0.05)
    (made,) = read_record(trainer.folder.rollbacks, Rollbacks).rollbacks
    assert CheckpointStore(trainer.folder).open(20).manifest.rollbacks == ()
    assert CheckpointStore(trainer.folder).open(40).manifest.rollbacks == (made,)


def test_a_run_that_went_back_and_was_interrupted_ends_with_the_same_bytes(trainer: Trainer) -> None:
    trainer.write_spec(small_spec(on_divergence=ROLLBACK))
    spoiling(trainer, at=23, above=0.06)
    trainer.train()

    again = Trainer(trainer.volume, trainer.volume.run("again"))
    again.write_spec(small_spec(on_divergence=ROLLBACK))
    spoiling(again, at=23, above=0.06)
    spoil = again.before_step

    def before(step: int) -> None:
        spoil(step)
        if step == 26 and again.folder.rollbacks.exists():
            again.stop.set()

    again.before_step = before
    again.train()
    assert again.status().phase == "released"
    again.stop = StopEvent()
    again.before_step = spoil
    again.train()

    assert len(again.events("rolled_back")) == 1
    assert contents(again, 40) == contents(trainer, 40)


def test_a_run_that_diverges_before_its_first_checkpoint_begins_anew(trainer: Trainer) -> None:
    trainer.write_spec(small_spec(on_divergence=ROLLBACK))
    spoiling(trainer, at=3, above=0.06)
    assert trainer.train() == 0
    assert [event.step for event in trainer.events("rolled_back")] == [0]
    slower = Trainer(trainer.volume, trainer.volume.run("slower"))
    slower.write_spec(small_spec(learning_rate={"kind": "constant", "rate": 0.05}))
    slower.train()
    assert contents(trainer, 40) == contents(slower, 40)


def test_a_run_goes_back_so_many_times_and_no_more(trainer: Trainer) -> None:
    trainer.write_spec(small_spec(on_divergence=ROLLBACK))
    spoiling(trainer, at=23, above=0.0)
    assert trainer.train() == 1
    assert [event.details["factor"] for event in trainer.events("rolled_back")] == [0.5, 0.5]
    failure = trainer.status().failure
    assert failure is not None
    assert "after going back 2 times" in (failure["message"] or "")
    assert CheckpointStore(trainer.folder).steps() == [10, 20]


def test_an_exploded_loss_is_never_committed(trainer: Trainer) -> None:
    trainer.write_spec(
        small_spec(
            cadence={"log_steps": 7, "checkpoint_steps": 10},
            on_divergence={"action": "fail", "explosion": 1.0},
            learning_rate={"kind": "constant", "rate": 500.0},
        )
    )
    assert trainer.train() == 1
    assert "exploded" in (trainer.status().failure or {})["message"]  # type: ignore[operator]
    assert CheckpointStore(trainer.folder).steps() == []


def test_f21_a_trainer_that_runs_out_of_memory_says_so(trainer: Trainer) -> None:
    def before(step: int) -> None:
        raise MemoryError

    trainer.before_step = before
    assert trainer.train() == 1
    failure = trainer.status().failure
    assert failure is not None
    assert (failure["code"], failure["hint"]) == ("out_of_memory", "A smaller batch_size needs less")
