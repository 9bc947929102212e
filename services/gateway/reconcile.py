"""The reconcile loop: moves what is towards what is desired, one small step at a time.

Each step can be cut short by SIGKILL anywhere; the next gateway's first step goes on from what lies on the volume:

1. `runs/<run>/` appears whole (spec, desired): from then on the run is queued.
2. `slots/<slot>/assignment.json` names the run and a new fencing number; the run's journal says so (`assigned`).
3. The launcher starts a trainer; the journal says so (`spawned`). Cut before the start, the slot is found assigned and
   empty, and the trainer is started then. Cut after it, the trainer is found at work and adopted.
4. A trainer that has ended is settled once per fencing number (`ended`).

Where a run alternates, an assignment may be one to evaluate: `alternation` says when, and the steps are the same.
"""

import logging
import threading
from collections.abc import Callable

from services.gateway import alternation, endings
from services.gateway.control import RunControl
from services.gateway.index import Index, Run
from services.gateway.journal import History, Journal
from services.gateway.launchers.base import Launcher, Observation
from services.gateway.metrics import RunMetrics
from services.gateway.situation import Situation, worked
from services.gateway.situations import Situations
from services.gateway.slots import Slot, Slots, greatest_fence, is_over
from shared.errors import ConflictError, TandemError, UnavailableError
from shared.layout import RunFolder, Volume
from shared.lifecycle import StopEvent
from shared.records import Assignment, write_record

log = logging.getLogger(__name__)

# The states in which the rules of a spec may end a run: those of one that is to train.
RULED = frozenset({"queued", "starting", "running", "evaluating", "restarting"})
CATCHING_UP = 0.05  # seconds between two steps, which leave room for requests
GONE = Observation(alive=False)


class Reconciler:
    """Holds all the gateway does on its own. `step` is called again and again, by one thread.

    Args:
        volume: Where slots and runs lie.
        runs: Tells how runs stand.
        control: Changes what is desired of them.
        index: What is known of the runs.
        journal: Where everything that is done is written down.
        slots: What is seen of the trainers.
        launcher: Who starts and stops them.
        metrics: Where states are counted.
        clock: Monotonic seconds.
        time: Seconds since the epoch.
        lock: Held during each step.
        attempts: How many trainers in a row may die without a new checkpoint before the run has failed.
        backoff: Seconds before the first restart; doubled with each further one.
        longest_backoff: Where the doubling ends.
        stop_grace: Seconds that a trainer has to follow what is desired before it gets SIGTERM, and then again as many
            before it is killed.
        arriving: Whether a run is still being copied onto the volume, so that it is not to be gone on with yet.
        shelve: Called at the end of each step, to put away runs that have settled.
    """

    def __init__(
        self,
        *,
        volume: Volume,
        runs: Situations,
        control: RunControl,
        index: Index,
        journal: Journal,
        slots: Slots,
        launcher: Launcher,
        metrics: RunMetrics,
        clock: Callable[[], float],
        time: Callable[[], float],
        lock: threading.RLock,
        attempts: int,
        backoff: float,
        longest_backoff: float,
        stop_grace: float,
        arriving: Callable[[RunFolder], bool] = lambda folder: False,
        shelve: Callable[[], None] = lambda: None,
    ) -> None:
        self._volume = volume
        self._runs = runs
        self._control = control
        self._index = index
        self._journal = journal
        self._slots = slots
        self._launcher = launcher
        self._metrics = metrics
        self._clock = clock
        self._time = time
        self._lock = lock
        self._attempts = attempts
        self._backoff = backoff
        self._longest_backoff = longest_backoff
        self._stop_grace = stop_grace
        self._arriving = arriving
        self._shelve = shelve
        self._due: dict[str, float] = {}
        self._overdue: dict[str, float] = {}
        self._releasing = False

    def step(self) -> bool:
        """Looks at everything once, and does what is to be done about it.

        Returns:
            Whether some runs have not been looked at yet since this gateway began.
        """
        with self._lock:
            self._index.refresh(self._runs.at_work)
            for situation in self._runs.awake():
                if situation.state.state in RULED:
                    self._control.end_by_rule(situation)
            for slot in self._slots.look():
                self._settle(slot)
                self._hurry(slot)
            self._fill()
            self._note_states()
            self._shelve()
            return self._index.unread > 0

    def stop_slots(self, *, sleep: Callable[[float], None], poll: float) -> None:
        """Has every trainer release its slot, and waits for that; they are killed after their grace.

        Args:
            sleep: Sleeps for so many seconds.
            poll: Seconds between two looks.
        """
        with self._lock:
            self._releasing = True
            while alive := [name for name in self._launcher.slots() if self._launcher.observe(name).alive]:
                for name in alive:
                    self._launcher.stop(name, self._stop_grace)
                sleep(poll)
            for slot in self._slots.look():
                self._settle(slot)

    def _settle(self, slot: Slot) -> None:
        """Writes down that a trainer was found at work, or that it has ended and how."""
        run = self._assigned_run(slot)
        if run is None or slot.assignment is None:
            return
        fence = slot.assignment.fence
        history = self._journal.history(run.id)
        if slot.seen.alive:
            if history.spawned < fence:
                self._journal.write(
                    run.id, "adopted", "was found at work", slot=slot.name, fence=fence, pid=slot.seen.pid
                )
            return
        reported = run.status is not None and run.status.fence == fence
        if history.ended >= fence or not (history.spawned >= fence or reported):
            return
        self._end(run, slot.name, slot.assignment, slot.seen)

    def _end(self, run: Run, slot: str, ended: Assignment, seen: Observation, trouble: str | None = None) -> None:
        run = self._index.get(run.id)  # its last words may be newer than the last refresh
        fence = ended.fence
        if ended.task == "evaluate":
            self._end_turn(run, slot, fence, seen, trouble)
            return
        status = run.status if run.status is not None and run.status.fence == fence else None
        history = self._history(run)
        now = self._time()
        step = run.checkpoint_step
        progress = step is not None and step > (history.started_step or 0)
        self._journal.write(
            run.id,
            "ended",
            trouble or endings.text(status, seen),
            slot=slot,
            fence=fence,
            exit_code=seen.exit_code,
            phase=None if status is None else status.phase,
            outcome=endings.outcome(status, seen.exit_code, run.desired, releasing=self._releasing),
            checkpoint_step=step,
            generation=run.generation,
            hopeless=endings.hopeless(status, seen, run.spec, progress=progress),
            seconds=worked(status, since=history.since, now=now),
        )
        history = self._history(run)
        if history.death is not None and not self._gives_up(run, history):
            delay = min(self._longest_backoff, self._backoff * 2 ** (history.deaths - 1))
            self._due[run.id] = self._clock() + delay
            log.warning(
                "run %s: %s; the next trainer follows in %.0f s", run.id, history.death, delay, extra={"run": run.id}
            )

    def _end_turn(self, run: Run, slot: str, fence: int, seen: Observation, trouble: str | None) -> None:
        """Writes down how an evaluator's turn in the slot has ended."""
        asked = self._releasing or (run.desired is not None and run.desired.state != "running")
        text, details = alternation.ending(run, seen, interrupted=asked)
        history = self._history(run)
        self._journal.write(
            run.id,
            "ended",
            trouble or text,
            slot=slot,
            fence=fence,
            exit_code=seen.exit_code,
            phase=None,
            checkpoint_step=run.checkpoint_step,
            generation=run.generation,
            seconds=worked(None, since=history.since, now=self._time()),
            **details,
        )
        misses = self._history(run).turns.misses
        if misses:
            self._due[run.id] = self._clock() + min(self._longest_backoff, self._backoff * 2 ** (misses - 1))
            log.warning("run %s: %s", run.id, trouble or text, extra={"run": run.id})

    def _gives_up(self, run: Run, history: History) -> bool:
        """Decides whether a run whose trainer died has failed, and writes that down."""
        reason = endings.why_give_up(history, run.spec, attempts=self._attempts)
        if reason is None:
            return False
        self._due.pop(run.id, None)
        self._journal.write(run.id, "gave_up", reason, restarts=history.restarts)
        log.error("run %s has failed: %s", run.id, reason, extra={"run": run.id})
        return True

    def _history(self, run: Run) -> History:
        return self._journal.history(run.id).under(run.generation)

    def _hurry(self, slot: Slot) -> None:
        """Ends a trainer whose run is to be killed, one that should have ended by itself, and one nobody asked for."""
        run = self._assigned_run(slot)
        state = None if run is None else self._runs.of(run).state.state
        if run is not None and slot.seen.alive and is_over(slot, self._journal.history(run.id)):
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
        queue = [] if self._index.unread else self._runs.queue()
        waiting = (each.run for each in queue if not self._arriving(each.run.folder))
        for slot in self._slots.now:
            if slot.seen.alive or slot.problem is not None:
                continue
            own = self._own(slot)
            if own is not None:
                self._go_on(slot, own)
            elif (run := self._last_turn(slot)) is not None:
                if self._clock() >= self._due.get(run.id, 0.0):
                    self._assign(slot, run)
            elif not slot.seen.retired and (first := next(waiting, None)) is not None:
                self._assign(slot, first)
        # What was just started must be seen by whoever asks for states before the next step.
        self._slots.look()

    def _own(self, slot: Slot) -> Situation | None:
        """The run that an empty slot is kept for."""
        run = self._assigned_run(slot)
        if run is None or slot.assignment is None:
            return None
        if self._journal.history(run.id).fence > slot.assignment.fence:
            return None  # another slot has it, since a moment ago
        situation = self._runs.of(run)
        kept = situation.slot == slot.name and situation.state.state in {"starting", "evaluating", "restarting"}
        return situation if kept else None

    def _last_turn(self, slot: Slot) -> Run | None:
        """The run that has ended in an empty slot with a checkpoint that is still to be judged there."""
        run = self._assigned_run(slot)
        if run is None or not run.spec.alternates or self._slots.of(run.id) != slot:
            return None
        if self._runs.of(run).state.state not in {"completed", "stopped"}:
            return None
        return run if alternation.last_turn_due(run, self._journal.history(run.id)) else None

    def _go_on(self, slot: Slot, own: Situation) -> None:
        run = own.run
        turning = own.state.state == "evaluating"
        unsettled = slot.assignment is not None and self._history(run).ended < slot.assignment.fence
        if own.state.state == "starting" or (turning and unsettled):
            self._spawn(slot, run)
        elif turning:
            if self._clock() >= self._due.get(run.id, 0.0):
                self._assign(slot, run)
        elif self._gives_up(run, self._history(run)):
            return  # an earlier gateway was killed before it could write that down
        elif self._clock() >= self._due.setdefault(run.id, self._clock() + self._backoff):
            self._assign(slot, run)

    def _assign(self, slot: Slot, run: Run) -> None:
        fence = 1 + greatest_fence(run, self._journal.history(run.id), self._slots.of(run.id))
        task = alternation.task(run, self._journal.history(run.id))
        assignment = Assignment(run=run.id, fence=fence, time=self._time(), task=task)
        write_record(self._volume.slot(slot.name).assignment, assignment)
        self._journal.write(
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
        self._due.pop(run.id, None)
        try:
            pid = self._launcher.start(slot.name)
        except ConflictError:
            log.info("run %s: slot %s was taken a moment ago", run.id, slot.name, extra={"run": run.id})
        except UnavailableError as error:
            # Its slot stays as it is.
            log.warning("run %s: its %s cannot be started yet: %s", run.id, who, error, extra={"run": run.id})
        except (OSError, TandemError) as error:
            self._end(run, slot.name, slot.assignment, GONE, trouble=f"its {who} cannot be started: {error}")
        else:
            self._journal.write(run.id, "spawned", f"its {who} was started", slot=slot.name, fence=fence, pid=pid)

    def _note_states(self) -> None:
        """Writes down every change of a state, and counts states."""
        situations = self._runs.awake()
        for each in situations:
            self._control.tell(each.run)
            before = self._journal.history(each.run.id).state
            if before != each.state.state:
                self._journal.write(each.run.id, "state", each.state.reason, **{"from": before, "to": each.state.state})
        self._metrics.show(
            {each.run.id: each.state.state for each in situations},
            {each.run.id: each.turns for each in situations if each.turns.count},
            self._index.shelved_states(),
        )

    def _assigned_run(self, slot: Slot) -> Run | None:
        if slot.assignment is None:
            return None
        try:
            return self._index.get(slot.assignment.run)
        except TandemError:
            return None  # removed, or unreadable; the index says so to whoever lists runs


class ReconcileLoop:
    """Runs a reconciler in a thread until told to stop.

    Args:
        reconciler: What makes the steps.
        stop: Ends the loop.
        woken: Set to have the next step made now.
        clock: Monotonic seconds.
        poll: Seconds between two steps when nobody wakes it.
        failures: Called for each step that raised.
    """

    def __init__(
        self,
        *,
        reconciler: Reconciler,
        stop: StopEvent,
        woken: threading.Event,
        clock: Callable[[], float],
        poll: float,
        failures: Callable[[], None],
    ) -> None:
        self._reconciler = reconciler
        self._stop = stop
        self._clock = clock
        self._poll = poll
        self._failures = failures
        self._woken = woken
        self._thread = threading.Thread(target=self._run, name="reconcile", daemon=True)
        self._last: float | None = None
        self._trouble: str | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def join(self) -> None:
        """Waits until the thread has ended; `stop` must have been set."""
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def why_not_ready(self) -> str | None:
        """Why nothing is being steered, or None if it is."""
        if self._trouble is not None:
            return self._trouble
        if self._last is None:
            return "the volume has not been read yet"
        silent = self._clock() - self._last
        return f"no step was made for {silent:.0f} s" if silent > 10 * self._poll + 10 else None

    def _run(self) -> None:
        while not self._stop.is_set():
            self._woken.clear()
            behind = False
            try:
                behind = self._reconciler.step()
                self._trouble = None
            except Exception as error:
                self._failures()
                text = f"the reconcile loop failed: {error}"
                if text != self._trouble:
                    log.exception("the reconcile loop failed; it tries again")
                self._trouble = text
            self._last = self._clock()
            self._woken.wait(min(self._poll, CATCHING_UP) if behind else self._poll)
