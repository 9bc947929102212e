"""How the end of a trainer counts: what it was, and whether another trainer is worth a try. Pure: no I/O, no clock."""

from services.gateway.launchers.base import Observation
from services.gateway.steering.journal import DIED, History
from services.gateway.steering.state import failure_text, is_answered_late
from shared.records import Desired, TrainerStatus
from shared.spec import RunSpec

BAD_INPUT_EXIT = 2
OUT_OF_MEMORY_EXIT = 137
OUT_OF_MEMORY = "out_of_memory"
HOPELESS = frozenset(
    {
        *("bad_input", "bad_spec", "bad_settings", "dataset_corrupt", "unknown_schema", "no_good_checkpoint"),
        *("corrupt_checkpoint", "diverged"),
    }
)


def outcome(status: TrainerStatus | None, exit_code: int | None, desired: Desired | None, *, releasing: bool) -> str:
    """How an end counts: by the trainer's own last word if that is final, and its exit code does not deny it.

    Args:
        status: What this very trainer last said.
        exit_code: How its process ended, if that is known.
        desired: What was wanted of the run.
        releasing: Whether the gateway has trainers let go of their slots because it ends itself.
    """
    wanted = None if desired is None else desired.state
    if wanted == "stopped" and desired is not None and desired.kill:
        return "killed"
    if status is None or status.phase not in {"completed", "stopped", "released", "yielded"} or exit_code:
        return DIED
    asked = releasing or wanted != "running" or is_answered_late(desired, status)
    if status.phase == "released" and not asked:
        return DIED  # nobody asked it to; so a trainer that always lets go at once is not started for ever
    return status.phase


def text(status: TrainerStatus | None, seen: Observation) -> str:
    """How a trainer ended, in words."""
    if ran_out_of_memory(status, seen):
        how = "its trainer was ended: it took more memory than it may"
    elif seen.exit_code is None:
        how = "its trainer is gone"
    elif seen.exit_code < 0:
        how = f"its trainer was killed by signal {-seen.exit_code}"
    else:
        how = f"its trainer ended with {seen.exit_code}"
    said = failure_text(status)
    return f"{how}: {said}" if said else how


def ran_out_of_memory(status: TrainerStatus | None, seen: Observation) -> bool:
    """Whether memory was what a trainer died of: its launcher, its exit code or itself says so."""
    return seen.out_of_memory or seen.exit_code == OUT_OF_MEMORY_EXIT or _code(status) == OUT_OF_MEMORY


def hopeless(status: TrainerStatus | None, seen: Observation, spec: RunSpec, *, progress: bool) -> str | None:
    """Why another trainer would meet the same, or None.

    Args:
        status: What the trainer that died last said.
        seen: How it ended.
        spec: What it was to compute.
        progress: Whether it had made a checkpoint. One that ran out of memory after that did fit at first, so something
            else took the memory, and another try is worth it.
    """
    if ran_out_of_memory(status, seen):
        if progress:
            return None
        return f"another one would need as much; a batch_size less than {spec.batch_size} needs less"
    if seen.exit_code == BAD_INPUT_EXIT or _code(status) in HOPELESS:
        return "another trainer would meet the same"
    return None


def why_give_up(history: History, spec: RunSpec, *, attempts: int) -> str | None:
    """Why no other trainer is to be started after the last one died, or None if one is.

    Args:
        history: Of the run, as it counts for what is desired now.
        spec: Its specification, which may limit restarts.
        attempts: How many trainers in a row may die without a new checkpoint.
    """
    if history.hopeless is not None:
        return f"{history.death}; {history.hopeless}"
    if history.deaths >= attempts:
        return f"{history.death}; {history.deaths} trainers in a row made no new checkpoint"
    if spec.max_restarts is not None and history.restarts > spec.max_restarts:
        return f"{history.death}; max_restarts is {spec.max_restarts}"
    return None


def _code(status: TrainerStatus | None) -> str | None:
    return None if status is None or status.failure is None else status.failure.get("code")
