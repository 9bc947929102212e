"""What trainers say of themselves, in tests in which most of it does not matter."""

from typing import Any

from shared.records import TrainerStatus


def trainer_status(run: str, **values: Any) -> TrainerStatus:
    """A status of a run with these values, and with harmless ones for the rest."""
    harmless: dict[str, Any] = {
        "slot": "slot-0",
        "phase": "running",
        "step": 10,
        "steps": 100,
        "beat": 1,
        "time": 0.0,
        "started": 0.0,
        "fence": 1,
        "generation_seen": 0,
        "pid": 1,
        "host": "here",
        "versions": {},
    }
    return TrainerStatus(run=run, **harmless | values)
