"""The slots as they are now: which run each is assigned, and whether a trainer is there."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from services.gateway.index import Index, Run
from services.gateway.launchers.base import Launcher, Observation
from services.gateway.steering.journal import History
from services.gateway.steering.state import Trainer
from shared.errors import TandemError, VolumeError
from shared.layout import RunFolder, Volume
from shared.records import Assignment, SlotRecord, read_record_or_none

FINAL_PHASES = frozenset({"completed", "stopped", "released", "yielded", "failed"})


@dataclass(frozen=True)
class Slot:
    """One slot at one moment. `problem` says why its assignment cannot be read; nothing is assigned to it then."""

    name: str
    assignment: Assignment | None
    seen: Observation
    record: SlotRecord | None = None
    problem: str | None = None


@dataclass
class _Beat:
    fence: int
    beat: int
    since: float


class Slots:
    """Looks at the slots, and at the heartbeats of trainers that are in none.

    Args:
        volume: Where the assignments lie.
        launcher: Who sees the trainers.
        clock: Monotonic seconds.
        silence: Seconds without a new heartbeat after which a trainer that is in no slot counts as gone.
    """

    def __init__(self, *, volume: Volume, launcher: Launcher, clock: Callable[[], float], silence: float) -> None:
        self._volume = volume
        self._launcher = launcher
        self._clock = clock
        self._silence = silence
        self._slots: tuple[Slot, ...] = ()
        self._beats: dict[str, _Beat] = {}

    def check(self) -> None:
        """Returns if trainers can be seen and started now.

        Raises:
            UnavailableError: What runs them is away.
        """
        self._launcher.check()

    def look(self) -> tuple[Slot, ...]:
        """Looks at every slot, once; the answer stays in `now` until the next look."""
        self._slots = tuple(self._look(name) for name in self._launcher.slots())
        return self._slots

    @property
    def now(self) -> tuple[Slot, ...]:
        """The slots when they were last looked at, in the launcher's order."""
        return self._slots

    def of(self, run_id: str) -> Slot | None:
        """The slot that the run was assigned to last; the assignments of slots that it had before may name it too."""
        found, fence = None, 0
        for slot in self._slots:
            if slot.assignment is not None and slot.assignment.run == run_id and slot.assignment.fence > fence:
                found, fence = slot, slot.assignment.fence
        return found

    def trainer(self, run: Run, history: History) -> Trainer:
        """What is seen of a run's trainer from outside. `history` is as it counts for what is desired of the run.

        A trainer with a greater fencing number than the gateway ever gave was started by hand. Of such a one the
        heartbeat alone says whether it lives.
        """
        slot = self.of(run.id)
        fence = max(history.fence, slot.assignment.fence if slot is not None and slot.assignment is not None else 0)
        # One that works under a number that has ended was started by somebody else, such as Compose at `up`.
        in_slot = slot is not None and slot.seen.alive and not is_over(slot, history)
        evaluating = in_slot and slot is not None and slot.assignment is not None and slot.assignment.task == "evaluate"
        by_hand = not in_slot and run.status is not None and run.status.fence > fence
        kept = in_slot or (slot is not None and history.ended < fence) or history.death is not None or _turning(run)
        return Trainer(
            slot=slot.name if slot is not None and kept else None,
            fence=fence,
            alive=(in_slot and not evaluating) or (by_hand and self._beats_on(run)),
            evaluating=evaluating,
            by_hand=by_hand,
            death=history.death,
            gave_up=history.gave_up,
        )

    def _look(self, name: str) -> Slot:
        folder = self._volume.slot(name)
        seen = self._launcher.observe(name)
        try:
            return Slot(
                name=name,
                assignment=read_record_or_none(folder.assignment, Assignment),
                seen=seen,
                record=read_record_or_none(folder.record, SlotRecord),
            )
        except VolumeError as error:
            return Slot(name=name, assignment=None, seen=seen, problem=str(error))

    def _beats_on(self, run: Run) -> bool:
        status = run.status
        if status is None or status.phase in FINAL_PHASES:
            return False
        now = self._clock()
        last = self._beats.get(run.id)
        if last is None or (last.fence, last.beat) != (status.fence, status.beat):
            self._beats[run.id] = _Beat(fence=status.fence, beat=status.beat, since=now)
            return True
        return now - last.since <= self._silence


def assigned_run(slot: Slot, index: Index) -> Run | None:
    """The run that a slot is assigned; None where there is none, or where it is gone or cannot be read."""
    if slot.assignment is None:
        return None
    try:
        return index.get(slot.assignment.run)
    except TandemError:
        return None  # the index says so to whoever lists runs


def is_over(slot: Slot, history: History) -> bool:
    """Whether what a slot is assigned has ended already, as far as the history of that run goes."""
    return slot.assignment is not None and history.ended >= slot.assignment.fence


def _turning(run: Run) -> bool:
    """Whether the run's slot is between two turns."""
    wanted = run.desired is not None and run.desired.state == "running"
    return wanted and run.status is not None and run.status.phase == "yielded"


def greatest_fence(run: Run, history: History, slot: Slot | None) -> int:
    """The greatest fencing number that anything on the volume shows for a run; 0 if there is none."""
    seen = [history.fence, run.status.fence if run.status is not None else 0, _written_fence(run.folder)]
    if slot is not None and slot.assignment is not None:
        seen.append(slot.assignment.fence)
    return max(seen)


def _written_fence(folder: RunFolder) -> int:
    try:
        values = json.loads(folder.fence.read_bytes())
        return int(values["fence"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
