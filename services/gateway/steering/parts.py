"""What all who steer runs work with: one set of it for a gateway."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from services.gateway.index import Index
from services.gateway.steering.journal import Journal
from services.gateway.steering.situations import Situations
from services.gateway.steering.slots import Slots


@dataclass(frozen=True, kw_only=True)
class SteeringParts:
    """What is known of runs, where what is done with them is written down, and whose turn it is to do something.

    Attributes:
        index: What is known of the runs.
        runs: Tells how they stand.
        journal: Where everything that is asked for and done is written down.
        slots: What is seen of their trainers.
        time: Seconds since the epoch.
        lock: Held while something is changed, and by the reconcile loop during each of its steps.
        wake: Called after a change, so that the loop need not wait for its next turn.
    """

    index: Index
    runs: Situations
    journal: Journal
    slots: Slots
    time: Callable[[], float]
    lock: threading.RLock
    wake: Callable[[], None]
