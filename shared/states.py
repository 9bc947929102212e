"""The states that a run can be in, by the names that the API and the command line use.

| state | means |
| --- | --- |
| queued | wants to train and waits for a slot |
| starting | has a slot; its trainer has not made a step yet |
| running | trains |
| pausing, paused | is to stand still, and does not yet, or does |
| stopping, stopped | is to end for good before its last step, and does not yet, or has |
| completed | has made every step |
| evaluating | its trainer has left the slot to an evaluator, which judges; training goes on afterwards |
| restarting | its trainer ended without being asked; another one follows |
| failed | will not be tried again; the reason says why |
"""

from typing import Literal, get_args

State = Literal[
    "queued",
    "starting",
    "running",
    "pausing",
    "paused",
    "stopping",
    "stopped",
    "completed",
    "evaluating",
    "restarting",
    "failed",
]
STATES: tuple[State, ...] = get_args(State)
SETTLED: frozenset[State] = frozenset({"stopped", "completed", "failed"})
