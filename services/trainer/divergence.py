"""When a run has diverged, and what it knows of having gone back.

Each time a run goes back to a checkpoint, `trainer/rollbacks.json` gets an entry before anything is computed: from that
checkpoint's step on, the rate is `factor` times what it would be. So the rate stays a pure function of what is on the
volume and the step, a killed trainer's successor computes the same, and each checkpoint's manifest says by which.
"""

import math

from services.trainer.engine import Losses
from shared.checkpoints import Checkpoint
from shared.errors import DivergedError
from shared.layout import RunFolder
from shared.records import Rollback, Rollbacks, read_record_or_none, write_record
from shared.spec import DivergenceSpec

_HINT = "The last good checkpoint is kept; a lower learning rate or another seed may help"


class DivergenceWatch:
    """Tells losses that show that a run has diverged.

    Args:
        rule: Of the run's specification.
        classes: How many classes the data set has.
    """

    def __init__(self, *, rule: DivergenceSpec, classes: int) -> None:
        # Who guesses among n classes has the cross entropy ln n; of one class there is nothing to guess.
        self._limit = math.inf if rule.explosion is None else rule.explosion * math.log(max(2, classes))

    def check(self, step: int, losses: Losses) -> None:
        """Looks at the losses of a step.

        Raises:
            DivergedError: The loss is no finite number, or it has exploded.
        """
        if not math.isfinite(losses.loss):
            raise DivergedError(f"the loss is {losses.loss}", where=f"step {step}", hint=_HINT)
        if losses.cross_entropy > self._limit:
            raise DivergedError(
                f"the loss has exploded: the cross entropy is {losses.cross_entropy:.4g}, more than {self._limit:.4g}",
                where=f"step {step}",
                hint=_HINT,
            )


def known_rollbacks(folder: RunFolder, begin: Checkpoint | None) -> tuple[Rollback, ...]:
    """How often a run went back, and how much lower its rate has been since.

    Args:
        folder: The run.
        begin: The checkpoint that it goes on from; what that was made by holds where the run says nothing itself.
    """
    own = read_record_or_none(folder.rollbacks, Rollbacks)
    if own is not None:
        return own.rollbacks
    return () if begin is None else begin.manifest.rollbacks


def roll_back(
    error: DivergedError,
    *,
    folder: RunFolder,
    rule: DivergenceSpec,
    known: tuple[Rollback, ...],
    step: int,
    diverged: int,
    time: float,
) -> Rollback:
    """Writes down that a run goes back, if its specification says so.

    Args:
        error: How it diverged.
        folder: The run.
        rule: Of its specification.
        known: How often it went back already, or the run that it is a fork of.
        step: Where it goes back to.
        diverged: The step at which it was found to have diverged.
        time: Seconds since the epoch.

    Raises:
        DivergedError: It has failed: it is not to go back, or not once more.
    """
    if rule.action != "rollback":
        raise error
    before = sum(1 for each in known if each.run == folder.id)
    if before >= rule.rollbacks:
        raise DivergedError(
            f"{error.message}, after going back {before} times to a lower rate", where=error.where, hint=error.hint
        ) from error
    made = Rollback(run=folder.id, step=step, diverged=diverged, factor=rule.rate_factor, reason=str(error), time=time)
    write_record(folder.rollbacks, Rollbacks(rollbacks=(*known, made)))
    return made
