"""The reconciler: moves what is towards what is desired, one small step at a time.

Each step can be cut short by SIGKILL anywhere; the next gateway's first step goes on from what lies on the volume:

1. `runs/<run>/` appears whole (spec, desired): from then on the run is queued.
2. `slots/<slot>/assignment.json` names the run and a new fencing number; the run's journal says so (`assigned`).
3. The launcher starts a trainer; the journal says so (`spawned`). Cut before the start, the slot is found assigned and
   empty, and the trainer is started then. Cut after it, the trainer is found at work and adopted.
4. A trainer that has ended is settled once per fencing number (`ended`); `settling` says what follows.

Where a run alternates, an assignment may be one to evaluate: `alternation` says when, and the steps are the same.
"""

import logging
from collections.abc import Callable

from services.gateway.index import Run
from services.gateway.launchers.base import Launcher, Observation
from services.gateway.steering import alternation
from services.gateway.steering.control import RunControl
from services.gateway.steering.journal import History
from services.gateway.steering.metrics import RunMetrics
from services.gateway.steering.parts import SteeringParts
from services.gateway.steering.settling import Settler
from services.gateway.steering.situation import Situation
from services.gateway.steering.slots import Slot, assigned_run, greatest_fence, is_over
from shared.errors import ConflictError, TandemError, UnavailableError
from shared.layout import RunFolder, Volume
from shared.records import Assignment, write_record

log = logging.getLogger(__name__)

# The states in which the rules of a spec may end a run: those of one that is to train.
RULED = frozenset({"queued", "starting", "running", "evaluating", "restarting"})
GONE = Observation(alive=False)


class Reconciler:
    """Holds all the gateway does on its own. `step` is called again and again, by one thread.

    Args:
        parts: What it shares with the others who steer.
        volume: Where slots and runs lie.
        control: Changes what is desired of runs.
        settler: What follows when they have ended.
        launcher: Who starts and stops them.
        metrics: Where states are counted.
        clock: Monotonic seconds.
        stop_grace: Seconds that a trainer has to follow what is desired before it gets SIGTERM, and then again as many
            before it is killed.
        arriving: Whether a run is still being copied onto the volume, so that it is not to be gone on with yet.
        shelve: Called at the end of each step, to put away runs that have settled.
    """

    def __init__(
        self,
        *,
        parts: SteeringParts,
        volume: Volume,
        control: RunControl,
        settler: Settler,
        launcher: Launcher,
        metrics: RunMetrics,
        clock: Callable[[], float],
        stop_grace: float,
        arriving: Callable[[RunFolder], bool] = lambda folder: False,
        shelve: Callable[[], None] = lambda: None,
    ) -> None:
        self._parts = parts
        self._volume = volume
        self._control = control
        self._settler = settler
        self._launcher = launcher
        self._metrics = metrics
        self._clock = clock
        self._stop_grace = stop_grace
        self._arriving = arriving
        self._shelve = shelve
        self._overdue: dict[str, float] = {}

    def step(self) -> bool:
        """Looks at everything once, and does what is to be done about it.

        Returns:
            Whether some runs have not been looked at yet since this gateway began.
        """
        with self._parts.lock:
            self._parts.index.refresh(self._parts.runs.at_work)
            for situation in self._parts.runs.awake():
                if situation.state.state in RULED:
                    self._control.end_by_rule(situation)
            for slot in self._parts.slots.look():
                self._settler.settle(slot)
                self._hurry(slot)
            self._fill()
            self._note_states()
            self._shelve()
            return self._parts.index.unread > 0

    def stop_slots(self, *, sleep: Callable[[float], None], poll: float) -> None:
        """Has every trainer release its slot, and waits for that; they are killed after their grace.

        Args:
            sleep: Sleeps for so many seconds.
            poll: Seconds between two looks.
        """
        with self._parts.lock:
            self._settler.release()
            while alive := [name for name in self._launcher.slots() if self._launcher.observe(name).alive]:
                for name in alive:
                    self._launcher.stop(name, self._stop_grace)
                sleep(poll)
            for slot in self._parts.slots.look():
                self._settler.settle(slot)

    def _hurry(self, slot: Slot) -> None:
        """Ends a trainer whose run is to be killed, one that should have ended by itself, and one nobody asked for."""
        run = assigned_run(slot, self._parts.index)
        state = None if run is None else self._parts.runs.of(run).state.state
        if run is not None and slot.seen.alive and is_over(slot, self._history(run)):
            self._launcher.stop(slot.name, self._stop_grace)  # nobody asked for what works there
            return
        last_turn = state == "completed" and slot.assignment is not None and slot.assignment.task == "evaluate"
        if run is None or not slot.seen.alive or last_turn or state not in {"pausing", "stopping", "completed"}:
            self._overdue.pop(slot.name, None)
            return
        if state == "stopping" and run.desired is not None and run.desired.kill:
            self._launcher.kill(slot.name)
            return
        since = self._overdue.setdefault(slot.name, self._clock())
        if self._clock() - since >= self._stop_grace:
            self._launcher.stop(slot.name, self._stop_grace)

    def _fill(self) -> None:
        """Gives every free slot a run: first its own, if one is to go on there, then the first in the queue."""
        # Until every run is known, nobody knows which of them is next. What is still being copied is not gone on with.
        queue = [] if self._parts.index.unread else self._parts.runs.queue()
        waiting = (each.run for each in queue if not self._arriving(each.run.folder))
        for slot in self._parts.slots.now:
            if slot.seen.alive or slot.problem is not None:
                continue
            own = self._own(slot)
            if own is not None:
                self._go_on(slot, own)
            elif (run := self._last_turn(slot)) is not None:
                if self._settler.may_follow(run):
                    self._assign(slot, run)
            elif not slot.seen.retired and (first := next(waiting, None)) is not None:
                self._assign(slot, first)
        # What was just started must be seen by whoever asks for states before the next step.
        self._parts.slots.look()

    def _own(self, slot: Slot) -> Situation | None:
        """The run that an empty slot is kept for."""
        run = assigned_run(slot, self._parts.index)
        if run is None or slot.assignment is None:
            return None
        if self._history(run).fence > slot.assignment.fence:
            return None  # another slot has it, since a moment ago
        situation = self._parts.runs.of(run)
        kept = situation.slot == slot.name and situation.state.state in {"starting", "evaluating", "restarting"}
        return situation if kept else None

    def _last_turn(self, slot: Slot) -> Run | None:
        """The run that has ended in an empty slot with a checkpoint that is still to be judged there."""
        run = assigned_run(slot, self._parts.index)
        if run is None or not run.spec.alternates or self._parts.slots.of(run.id) != slot:
            return None
        if self._parts.runs.of(run).state.state not in {"completed", "stopped"}:
            return None
        return run if alternation.last_turn_due(run, self._history(run)) else None

    def _go_on(self, slot: Slot, own: Situation) -> None:
        run = own.run
        turning = own.state.state == "evaluating"
        unsettled = slot.assignment is not None and self._history(run).ended < slot.assignment.fence
        if own.state.state == "starting" or (turning and unsettled):
            self._spawn(slot, run)
        elif turning:
            if self._settler.may_follow(run):
                self._assign(slot, run)
        elif self._settler.gives_up(run):
            return  # an earlier gateway was killed before it could write that down
        elif self._settler.may_follow_a_death(run):
            self._assign(slot, run)

    def _assign(self, slot: Slot, run: Run) -> None:
        fence = 1 + greatest_fence(run, self._history(run), self._parts.slots.of(run.id))
        task = alternation.task(run, self._history(run))
        assignment = Assignment(run=run.id, fence=fence, time=self._parts.time(), task=task)
        write_record(self._volume.slot(slot.name).assignment, assignment)
        self._parts.journal.write(
            run.id,
            "assigned",
            f"has slot {slot.name}",
            slot=slot.name,
            fence=fence,
            checkpoint_step=run.checkpoint_step,
            task=task,
        )
        self._spawn(Slot(name=slot.name, assignment=assignment, seen=slot.seen), run)

    def _spawn(self, slot: Slot, run: Run) -> None:
        if slot.assignment is None:
            return
        fence = slot.assignment.fence
        who = "trainer" if slot.assignment.task == "train" else "evaluator"
        self._settler.follows(run)
        try:
            pid = self._launcher.start(slot.name)
        except ConflictError:
            log.info("run %s: slot %s was taken a moment ago", run.id, slot.name, extra={"run": run.id})
        except UnavailableError as error:
            # Its slot stays as it is.
            log.warning("run %s: its %s cannot be started yet: %s", run.id, who, error, extra={"run": run.id})
        except (OSError, TandemError) as error:
            self._settler.end(run, slot.name, slot.assignment, GONE, trouble=f"its {who} cannot be started: {error}")
        else:
            self._parts.journal.write(run.id, "spawned", f"its {who} was started", slot=slot.name, fence=fence, pid=pid)

    def _note_states(self) -> None:
        """Writes down every change of a state, and counts states."""
        situations = self._parts.runs.awake()
        for each in situations:
            self._control.tell(each.run)
            before = self._history(each.run).state
            if before != each.state.state:
                self._parts.journal.write(
                    each.run.id, "state", each.state.reason, **{"from": before, "to": each.state.state}
                )
        self._metrics.show(
            {each.run.id: each.state.state for each in situations},
            {each.run.id: each.turns for each in situations if each.turns.count},
            self._parts.index.shelved_states(),
        )

    def _history(self, run: Run) -> History:
        return self._parts.journal.history(run.id)
