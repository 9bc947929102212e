"""The state of a run, derived from what the volume says and what is seen of its trainer. Pure: no I/O, no clock."""

from dataclasses import dataclass

from shared.records import Desired, TrainerStatus
from shared.spec import AlternateSharing, RunSpec
from shared.states import State
from shared.steps import total_steps


@dataclass(frozen=True)
class Trainer:
    """What is seen of a run's trainer from outside.

    Attributes:
        slot: The slot that is kept for the run, if one is.
        fence: The fencing number of the run's newest assignment, 0 if it never had one. What a trainer with a smaller
            number has said is about an earlier start.
        alive: A trainer works on the run now.
        evaluating: An evaluator has its turn in the run's slot now.
        by_hand: It was started by somebody else than the gateway, which therefore does not start it again.
        death: How the last trainer ended, if it ended without being asked and no other has been started since.
        gave_up: Why none will be started again, if that has been decided.
    """

    slot: str | None = None
    fence: int = 0
    alive: bool = False
    evaluating: bool = False
    by_hand: bool = False
    death: str | None = None
    gave_up: str | None = None


@dataclass(frozen=True)
class RunState:
    """A state, and the reason for it in words."""

    state: State
    reason: str


def derive(spec: RunSpec, desired: Desired | None, status: TrainerStatus | None, trainer: Trainer) -> RunState:
    """The state of a run.

    Args:
        spec: What it is to compute.
        desired: What is wanted of it; None for a run that was started by hand.
        status: What its trainer last said of itself, which may be long ago.
        trainer: What is seen of that trainer from outside.
    """
    if status is not None and status.phase == "completed" and status.steps >= total_steps(spec, desired):
        return RunState("completed", f"all {status.steps} steps are made")
    if desired is not None and desired.state == "stopped":
        return _to_end(desired, status, trainer)
    if trainer.gave_up is not None and not trainer.alive:
        return RunState("failed", trainer.gave_up)
    if desired is not None and desired.state == "paused":
        return _to_pause(desired, status, trainer)
    return _to_train(spec, desired, status, trainer)


def _to_train(spec: RunSpec, desired: Desired | None, status: TrainerStatus | None, trainer: Trainer) -> RunState:
    """The state of a run that is to train."""
    if trainer.alive:
        word = status if status is not None and _is_current(status, trainer) else None
        return _working(spec, desired, word, trainer)
    if trainer.evaluating:
        return RunState("evaluating", f"an evaluator judges it, in slot {trainer.slot}; then training goes on")
    return _left_alone(status) if desired is None else _waiting(status, trainer)


def _to_end(desired: Desired, status: TrainerStatus | None, trainer: Trainer) -> RunState:
    """The state of a run that is to end for good."""
    if trainer.evaluating and status is not None and status.phase == "yielded":
        return RunState("stopping", _asked(desired, "its evaluator ends"))
    if trainer.alive:
        ends = "is being ended" if desired.kill else "commits a last checkpoint"
        return RunState("stopping", _asked(desired, f"its trainer {ends}"))
    return RunState("stopped", _asked(desired, _where(status)))


def _to_pause(desired: Desired, status: TrainerStatus | None, trainer: Trainer) -> RunState:
    """The state of a run that is to stand still."""
    if trainer.evaluating:
        return RunState("pausing", _asked(desired, "its evaluator finishes its turn"))
    if not trainer.alive:
        return RunState("paused", _asked(desired, _where(status)))
    if status is not None and _is_current(status, trainer) and status.phase == "holding":
        return RunState("paused", _asked(desired, f"its trainer holds {_where(status)}"))
    return RunState("pausing", _asked(desired, "its trainer comes to a halt"))


def _working(spec: RunSpec, desired: Desired | None, word: TrainerStatus | None, trainer: Trainer) -> RunState:
    """The state of a run that is to train and has a living trainer, whose word is `word`."""
    place = "started by hand" if trainer.by_hand else f"in slot {trainer.slot}"
    if word is None:
        return RunState("starting", f"its trainer was started, {place}, and has not reported yet")
    match word.phase:
        case "starting":
            return RunState("starting", f"its trainer prepares, {place}")
        case "running":
            return RunState("running", f"trains, {place}")
        case "holding":
            return RunState("running", f"is about to go on, {place}")
        case phase:
            return _ending(spec, desired, word, place) or RunState(
                "restarting", f"its trainer is ending ({phase}); another one follows"
            )


def _ending(spec: RunSpec, desired: Desired | None, word: TrainerStatus, place: str) -> RunState | None:
    """The state of a run that is to train and whose trainer is about to end in order; None if it is not in order."""
    if word.phase == "yielded":
        return RunState("evaluating", f"its trainer leaves the slot to an evaluator, {place}")
    if word.phase == "stopping" and word.step >= word.steps:
        return RunState("running", f"commits its last checkpoint, {place}")
    if word.phase == "stopping" and _turn_is_over(spec, word):
        return RunState("running", f"commits a checkpoint before it leaves the slot to an evaluator, {place}")
    if desired is None:
        return RunState("stopping", f"its trainer, {place}, is ending ({word.phase})")
    if is_answered_late(desired, word):
        return RunState("starting", f"its trainer still ends as was asked before ({word.phase}); then it goes on")
    return None


def _left_alone(status: TrainerStatus | None) -> RunState:
    """The state of a run that was started by hand and has no living trainer."""
    if status is None:
        return RunState("failed", "was made by hand, and no trainer has reported; start one by hand")
    match status.phase:
        case "stopped":
            return RunState("stopped", f"stopped by hand at step {status.step}")
        case "released":
            return RunState("paused", f"its trainer, started by hand, was stopped at step {status.step}")
        case "yielded":
            return RunState(
                "paused", f"its trainer, started by hand, left its device to an evaluator at step {status.step}"
            )
        case "failed":
            return RunState("failed", failure_text(status) or "its trainer, started by hand, failed")
        case _:
            return RunState("failed", f"its trainer, started by hand, fell silent at step {status.step}")


def _waiting(status: TrainerStatus | None, trainer: Trainer) -> RunState:
    """The state of a run that is to train, by the gateway's doing, and has no living trainer."""
    if trainer.death is not None:
        return RunState("restarting", trainer.death)
    if trainer.slot is not None and status is not None and status.phase == "yielded":
        return RunState("evaluating", f"slot {trainer.slot} changes hands between trainer and evaluator")
    if trainer.slot is not None:
        return RunState("starting", f"is about to be started in slot {trainer.slot}")
    if status is None:
        return RunState("queued", "waits for a free slot")
    return RunState("queued", f"waits for a free slot, to go on {_where(status)}")


def is_answered_late(desired: Desired | None, word: TrainerStatus) -> bool:
    """Whether a trainer ends in order by what was wanted before, and has not heard that it is to train on."""
    if desired is None:
        return False
    extended = word.phase == "completed"
    return extended or (word.phase in {"stopping", "released"} and word.generation_seen < desired.generation)


def _turn_is_over(spec: RunSpec, word: TrainerStatus) -> bool:
    """Whether a trainer that ends has come to where an evaluator has its turn."""
    sharing = spec.sharing
    return isinstance(sharing, AlternateSharing) and word.step > 0 and word.step % sharing.every_steps == 0


def _is_current(status: TrainerStatus, trainer: Trainer) -> bool:
    """Whether the status is the word of the newest trainer, not of one before it."""
    return status.fence >= trainer.fence


def failure_text(status: TrainerStatus | None) -> str | None:
    """What the trainer said about its failure, as one line, or None if it said nothing."""
    if status is None or status.failure is None:
        return None
    message, where = status.failure.get("message"), status.failure.get("where")
    return f"{where}: {message}" if where and message else message


def _asked(desired: Desired, text: str) -> str:
    return f"{desired.reason}; {text}" if desired.reason else text


def _where(status: TrainerStatus | None) -> str:
    return "before its first step" if status is None else f"at step {status.step} of {status.steps}"
