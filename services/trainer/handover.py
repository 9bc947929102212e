"""The evaluator's turn in a slot: the process of the slot becomes an evaluator.

It stays the same process for whoever started it (a gateway, a container engine): the slot's devices, limits and locks
go on to hold. The trainer's code is gone from it by then, and so is whatever memory it took.
"""

import os
import sys
from collections.abc import Mapping

from shared.devices import available_processors
from shared.layout import Volume


def become_evaluator(volume: Volume, run: str) -> int:
    """Replaces this process by an evaluator that judges what is due of one run. Does not return.

    Raises:
        OSError: The program could not be started.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, evaluator_command(volume, run), evaluator_environment(os.environ))


def evaluator_command(volume: Volume, run: str) -> list[str]:
    """The command line of that evaluator."""
    arguments = ["--volume", str(volume.root), "--run", run, "--once"]
    # The run's own cadence has decided already what is to be judged: everything that is there.
    return [sys.executable, "-m", "services.evaluator", *arguments, "--device", "any", "--policy", "newest-first"]


def evaluator_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of that evaluator: it has the slot to itself, and shows its metrics where the trainer does."""
    changed = {name: value for name, value in environment.items() if not name.startswith("TANDEM_EVALUATOR_METRICS_")}
    for name in ("HOST", "PORT"):
        if (value := environment.get(f"TANDEM_TRAINER_METRICS_{name}")) is not None:
            changed[f"TANDEM_EVALUATOR_METRICS_{name}"] = value
    changed.setdefault("TANDEM_EVALUATOR_NICE", "0")
    threads = environment.get("TANDEM_TRAINER_THREADS") or str(available_processors())
    changed.setdefault("TANDEM_EVALUATOR_THREADS", threads)
    return changed
