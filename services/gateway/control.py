"""Run control: what people may ask of runs. It writes what is desired; the reconcile loop makes it so."""

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from services.gateway.index import Index, Run
from services.gateway.journal import History, Journal
from services.gateway.making import Key, Plan, RunMaker, forked, made_before
from services.gateway.predict.aliases import set_by_hand
from services.gateway.rules import reason_to_end
from services.gateway.shelf import Shelved
from services.gateway.situation import Situation, waiting, worked
from services.gateway.slots import Slots
from services.gateway.state import SETTLED, derive
from services.gateway.transitions import Transition, allowed, is_done, refusal
from shared import atomic, recipes
from shared.checkpoints import CheckpointStore, pinned_steps
from shared.differences import differences
from shared.errors import ConflictError, NotFoundError, SpecError, TandemError, UnavailableError, VolumeError
from shared.layout import RunFolder, Volume
from shared.locks import exports_lock
from shared.records import Desired, Pins, Tags, write_record
from shared.spec import DatasetSpec, RunSpec, overlay, parse_spec
from shared.steps import extensible

log = logging.getLogger(__name__)


class RunControl:
    """Starts, shows and stops runs.

    Args:
        volume: Where the runs lie.
        index: What is known of them.
        journal: Where what was asked for is written down.
        slots: What is seen of their trainers.
        clock: Seconds since the epoch.
        lock: Held while something is changed; the reconcile loop holds it during each of its steps.
        wake: Called after a change, so that the loop need not wait for its next turn.
        recipes_folder: Where the recipes lie.
        check_dataset: Raises DatasetError unless a data set is at hand.
        price_per_hour: Of a slot, in whatever currency; None if it is not known.
    """

    def __init__(
        self,
        *,
        volume: Volume,
        index: Index,
        journal: Journal,
        slots: Slots,
        clock: Callable[[], float],
        lock: threading.RLock,
        wake: Callable[[], None],
        recipes_folder: Path,
        check_dataset: Callable[[DatasetSpec], None],
        price_per_hour: float | None = None,
    ) -> None:
        self._volume = volume
        self._index = index
        self._journal = journal
        self._slots = slots
        self._clock = clock
        self._lock = lock
        self._wake = wake
        self._recipes_folder = recipes_folder
        self._check_dataset = check_dataset
        self._price = price_per_hour
        self._maker = RunMaker(volume=volume, clock=clock)
        self._settled: dict[str, tuple[Run, History, Situation]] = {}

    def start(
        self, *, recipe: str | None, changes: dict[str, Any], priority: int = 0, key: Key | None = None
    ) -> Situation:
        """Makes a run, which begins as soon as a slot is free.

        Args:
            recipe: The name of the recipe to begin from; None: the defaults.
            changes: Laid over it, mappings merged key by key.
            priority: Of runs that wait the greatest goes first.
            key: Where a request with it has made a run already, that one is shown.

        Raises:
            NotFoundError: There is no such recipe.
            SpecError: The specification is wrong; `where` names the field.
            DatasetError: Its data set is not at hand.
            ConflictError: The key was used to ask for something else.
            UnavailableError: What runs trainers is away; no run was made.
        """

        def plan() -> Plan:
            below = {} if recipe is None else recipes.load(recipe, self._recipes_folder)
            return Plan(spec=self._checked(overlay(below, changes)), priority=priority, recipe=recipe, key=key)

        return self._make(plan, key)

    def fork(
        self,
        run_id: str,
        *,
        step: int | None,
        recipe: str | None,
        changes: dict[str, Any],
        priority: int = 0,
        key: Key | None = None,
    ) -> Situation:
        """Makes a run that begins with a checkpoint of another one, at that checkpoint's step.

        Args:
            run_id: The other run.
            step: Of its checkpoint; None: the newest.
            recipe: The recipe to take the specification from; None: that of the other run.
            changes: Laid over it.
            priority: As in `start`.
            key: As in `start`.

        Raises:
            NotFoundError: There is no such run, checkpoint or recipe.
            SpecError: The specification is wrong, or cannot begin with these weights.
            ConflictError: There is no checkpoint at all, or the key was used to ask for something else.
            DatasetError, UnavailableError: As in `start`.
        """

        def plan() -> Plan:
            now = self.show(run_id)
            self._require("fork", now)
            parent = now.run
            below = {**parent.spec.model_dump(mode="json"), "steps": parent.steps}
            if recipe is not None:
                below = recipes.load(recipe, self._recipes_folder)
            made = forked(parent, step=step, below=overlay(below, changes), parse=self._checked)
            return replace(made, priority=priority, recipe=recipe, key=key)

        return self._make(plan, key)

    def situations(self) -> list[Situation]:
        """Every readable run that is not on the shelf, oldest first: all but those that settled long ago."""
        return self._situations(self._index.runs())

    def listed(self) -> tuple[list[Situation], Sequence[Shelved]]:
        """Every readable run, oldest first; those on the shelf apart, newest first."""
        runs, shelved = self._index.all()
        return self._situations(runs), shelved

    def _situations(self, runs: Iterable[Run]) -> list[Situation]:
        found = [self.situation(run) for run in runs]
        places = {each.run.id: place for place, each in enumerate(waiting(found), start=1)}
        if not places:
            return found
        return [replace(each, position=places[each.run.id]) if each.run.id in places else each for each in found]

    @property
    def unread(self) -> int:
        """How many runs it has not looked at yet since it began; lists lack them, or show them as they were."""
        return self._index.unread

    def require_all(self) -> None:
        """Makes sure that every run is known.

        Raises:
            UnavailableError: Some have not been read yet.
        """
        if self.unread:
            raise UnavailableError(
                f"this gateway has just begun, and has still to read {self.unread} older runs",
                where="runs",
                hint="Try again in some seconds",
            )

    def queue(self) -> list[Situation]:
        """The runs that wait for a slot, in the order in which they get one."""
        return waiting(self.situation(run) for run in self._index.runs())

    def problems(self) -> dict[str, TandemError]:
        """The runs that cannot be read, and why."""
        return self._index.problems()

    def show(self, run_id: str) -> Situation:
        """One run, as it is now. Raises like `Index.get`."""
        situation = self.situation(self._index.get(run_id))
        if situation.state.state != "queued":
            return situation
        place = [each.run.id for each in self.queue()].index(run_id) + 1
        return replace(situation, position=place)

    def pause(self, run_id: str, *, kind: Literal["hold", "release"] = "release", reason: str = "") -> Situation:
        """Asks for a run to stand still: in memory (`hold`), or with its slot free for others (`release`).

        Raises:
            NotFoundError: There is no such run.
            ConflictError: Its state does not allow that; names what it allows. So for all that follow.
            UnavailableError: What runs trainers is away; nothing was changed. So for all that follow.
        """

        def change(now: Situation) -> dict[str, Any] | None:
            held = now.run.desired is not None and now.run.desired.pause == "hold" and "resume" in now.allowed
            if is_done("pause", now.state.state) and not (held and kind == "release" and now.slot is not None):
                return None
            if not is_done("pause", now.state.state):
                self._require("pause", now)
            return {"state": "paused", "pause": kind}

        return self._change(run_id, change, reason=reason or f"pause ({kind}) was asked for")

    def resume(
        self, run_id: str, *, steps: int | None = None, changes: dict[str, Any] | None = None, reason: str = ""
    ) -> Situation:
        """Asks for a run to train on.

        Args:
            run_id: The run.
            steps: How many steps it is to make in all, if that is to be more than before.
            changes: What its specification is taken to be, laid over what it is. It cannot be changed, so this is
                refused unless it comes to the same.
            reason: Why.

        Raises:
            SpecError: `steps` is less than the run is to make already.
        """

        def change(now: Situation) -> dict[str, Any] | None:
            refuse_other_spec(now.run, changes or {})
            extending = steps is not None and steps != now.run.steps
            if not extending:
                if is_done("resume", now.state.state):
                    return None
                self._require("resume", now)
                return {"state": "running"}
            self._require_extension(now, steps)
            return {"state": "running", "steps": steps}

        said = "resume was asked for" if steps is None else f"resume was asked for, to make {steps} steps"
        return self._change(run_id, change, reason=reason or said)

    def stop(self, run_id: str, *, reason: str = "") -> Situation:
        """Asks for a run to end for good, with a last checkpoint. Asking again changes nothing."""

        def change(now: Situation) -> dict[str, Any] | None:
            if is_done("stop", now.state.state):
                return None
            self._require("stop", now)
            return {"state": "stopped", "kill": False}

        return self._change(run_id, change, reason=reason or "stop was asked for")

    def kill(self, run_id: str, *, reason: str = "") -> Situation:
        """Asks for a run to end for good, at once, without a last checkpoint."""

        def change(now: Situation) -> dict[str, Any] | None:
            dying = now.state.state == "stopping" and now.run.desired is not None and now.run.desired.kill
            if dying or is_done("kill", now.state.state):
                return None
            self._require("kill", now)
            return {"state": "stopped", "kill": True}

        return self._change(run_id, change, reason=reason or "kill was asked for")

    def restart(self, run_id: str, *, reason: str = "") -> Situation:
        """Asks for a run that was stopped or has failed to go on from its newest checkpoint, with a new budget."""

        def change(now: Situation) -> dict[str, Any] | None:
            if is_done("restart", now.state.state):
                return None
            self._require("restart", now)
            judged = max((each.step for each in now.run.verdicts), default=0)
            return {"state": "running", "kill": False, "rules_from": judged, "seconds_from": now.seconds}

        return self._change(run_id, change, reason=reason or "restart was asked for")

    def end_by_rule(self, situation: Situation) -> None:
        """Stops a run if its specification's rules say so, with the reason."""
        run = situation.run
        begin = 0.0 if run.desired is None else run.desired.seconds_from
        seconds = situation.seconds - begin
        reason = reason_to_end(run, seconds=seconds, cost=self._cost(seconds))
        if reason is not None:
            self.stop(run.id, reason=reason)

    def pin(self, run_id: str, step: int, *, pinned: bool) -> None:
        """Keeps a checkpoint whatever the specification says about retention, or leaves it to that again.

        Raises:
            NotFoundError: There is no such run or checkpoint (any more).
        """
        with self._lock:
            folder = self._index.get(run_id).folder
            before = pinned_steps(folder)
            if pinned:
                CheckpointStore(folder).open(step)
            after = before | {step} if pinned else before - {step}
            if after == before:
                return
            write_record(folder.pins, Pins(steps=tuple(sorted(after))))
            if pinned and step not in CheckpointStore(folder).steps():
                write_record(folder.pins, Pins(steps=tuple(sorted(before))))
                raise NotFoundError(f"the checkpoint at step {step} was removed in this moment", where="step")
            what = "pinned" if pinned else "unpinned"
            self._journal.write(run_id, what, f"the checkpoint at step {step} was {what}", step=step)

    def delete(self, run_id: str) -> None:
        """Removes a run that has ended, with all that it made: it leaves its name in one step, then its files go.

        No alias of it moves meanwhile: one that somebody is setting in this moment is set before, and keeps the run, or
        not at all.
        """
        with self._no_alias_moves(self.show(run_id).run.folder), self._lock:
            now = self.show(run_id)
            self._require("delete", now)
            if aliases := set_by_hand(now.run.folder):
                shown = ", ".join(f"{name} at step {step}" for name, step in sorted(aliases.items()))
                raise ConflictError(
                    f"aliases point at it: {shown}",
                    where=f"run {run_id}",
                    hint="Move or remove them first: DELETE /v1/models/{model}/aliases/{alias}",
                )
            trash = atomic.discard_folder(now.run.folder.root)
            self._index.forget(run_id)
            self._journal.forget(run_id)
            self._settled.pop(run_id, None)
        log.info("run %s was deleted", run_id, extra={"run": run_id})
        if trash is not None:
            shutil.rmtree(trash, ignore_errors=True)
        self._wake()

    @contextlib.contextmanager
    def _no_alias_moves(self, folder: RunFolder) -> Iterator[None]:
        """Never entered by whoever holds the lock of steering: an evaluator may hold this one for a while."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(exports_lock(folder))
            except FileNotFoundError as error:
                raise NotFoundError("it was deleted in this moment", where=f"run {folder.id}") from error
            except OSError as error:
                # Runs are deleted to make room on a full disk, where an alias could not be written either.
                log.warning("run %s is deleted without the lock of its exports: %s", folder.id, error)
            yield

    def tag(self, run_id: str, *, priority: int | None, labels: dict[str, str | None] | None) -> Situation:
        """Changes a run's place in the queue, or its labels.

        Args:
            run_id: The run.
            priority: Of runs that wait the greatest goes first; None leaves it.
            labels: Laid over those it has, null taking one away; None leaves them.
        """
        with self._lock:
            run = self._index.get(run_id)
            before = run.tags
            after = Tags(
                priority=before.priority if priority is None else priority,
                labels=before.labels if labels is None else {**before.labels, **labels},
            )
            if after != before:
                write_record(run.folder.tags, after)
                self._journal.write(run_id, "tagged", "priority or labels were changed", **after.model_dump())
        self._wake()
        return self.show(run_id)

    def tell(self, run: Run) -> None:
        """Writes down what was asked for, where a gateway was killed between doing so and saying so."""
        history = self._journal.history(run.id)
        if run.desired is None:
            return
        if run.desired.generation == 0 and not history.created:
            recipe = None if run.origin is None else run.origin.recipe
            self._journal.write(run.id, "created", "was asked for", recipe=recipe)
        elif run.desired.generation > history.told:
            self._tell_desired(run.id, run.desired)

    def situation(self, run: Run) -> Situation:
        """The state of a run, by what was last seen, but for its place in the queue."""
        history = self._journal.history(run.id)
        settled = self._settled.get(run.id)
        if settled is not None and settled[0] is run and settled[1] is history:
            return settled[2]
        counted = history.under(run.generation)
        trainer = self._slots.trainer(run, counted)
        state = derive(run.spec, run.desired, run.status, trainer)
        seconds = history.seconds + worked(run.status, since=history.since, now=self._clock())
        situation = Situation(
            run=run,
            state=state,
            slot=trainer.slot,
            allowed=allowed(run, state.state, alive=trainer.alive),
            restarts=counted.restarts,
            seconds=seconds,
            cost=self._cost(seconds),
            turns=history.turns,
        )
        if state.state in SETTLED and not trainer.alive:
            # Nothing more happens to it without a new file or a new event: thousands of these cost nothing.
            self._settled[run.id] = (run, history, situation)
        return situation

    def keep(self, awake: Collection[str]) -> None:
        """Drops what is remembered of all runs but these."""
        for run_id in list(self._settled):
            if run_id not in awake:
                self._settled.pop(run_id, None)
        self._journal.keep(awake)

    def at_work(self, run: Run) -> bool:
        """Whether a run may change at any moment."""
        return self.situation(run).state.state not in SETTLED

    def why_not_ready(self) -> str | None:
        """Why runs cannot be made, or None if they can."""
        try:
            atomic.probe_writable(self._volume.runs)
        except VolumeError as error:
            return str(error)
        return None

    def _change(self, run_id: str, change: Callable[[Situation], dict[str, Any] | None], *, reason: str) -> Situation:
        """Puts another record in place of what is desired, if `change` says what is to be different in it."""
        with self._lock:
            now = self.show(run_id)
            self.tell(now.run)
            different = change(now)
            if different is not None:
                self._slots.check()
                before = now.run.desired or Desired(generation=0, state="running", time=0.0)
                desired = before.model_copy(
                    update={
                        **different,
                        "generation": now.run.generation + 1,
                        "reason": reason,
                        "time": self._clock(),
                    }
                )
                write_record(now.run.folder.desired, desired)
                self._tell_desired(run_id, desired)
        if different is not None:
            self._wake()
        return self.show(run_id)

    def _tell_desired(self, run_id: str, desired: Desired) -> None:
        details = desired.model_dump(exclude={"schema_version", "reason", "time"})
        self._journal.write(run_id, "desired", desired.reason, **details)

    def _require(self, asked: Transition, now: Situation) -> None:
        if asked not in now.allowed:
            raise refusal(asked, now.run, now.state.state, now.state.reason, now=now.allowed)

    def _require_extension(self, now: Situation, steps: int | None) -> None:
        if not extensible(now.run.spec):
            raise ConflictError(
                f"run {now.run.id} cannot be extended: its learning rate's course depends on the number of steps",
                where="steps",
                hint="Fork it with another learning_rate, or with other steps",
            )
        self._require("extend", now)
        if steps is not None and steps < now.run.steps:
            raise SpecError(
                f"a run can be made longer, not shorter: it is to make {now.run.steps} steps, not {steps}",
                where="steps",
                hint="Stop it, and it ends where it is",
            )

    def _make(self, plan: Callable[[], Plan], key: Key | None) -> Situation:
        with self._lock:
            if key is not None:
                self.require_all()
            before = None if key is None else made_before(self._index.with_key(key.text), key)
            if before is not None:
                return self.show(before.id)
            planned = plan()
            self._slots.check()
            run_id = self._maker.make(planned)
            self._journal.write(run_id, "created", "was asked for", recipe=planned.recipe)
        self._wake()
        return self.show(run_id)

    def _cost(self, seconds: float) -> float | None:
        return None if self._price is None else seconds / 3600 * self._price

    def _checked(self, values: dict[str, Any]) -> RunSpec:
        spec = parse_spec(values, source="spec")
        if spec.until.cost is not None and self._price is None:
            raise SpecError(
                "this gateway knows no price",
                where="spec: until.cost",
                hint="Set TANDEM_GATEWAY_PRICE_PER_HOUR, or leave it out",
            )
        self._check_dataset(spec.dataset)
        return spec


def refuse_other_spec(run: Run, changes: dict[str, Any]) -> None:
    """Makes sure that laying `changes` over the run's specification changes nothing.

    Raises:
        SpecError: It does not make a specification.
        ConflictError: It changes something; says what.
    """
    before = run.spec.model_dump(mode="json")
    found = differences(before, parse_spec(overlay(before, changes), source="spec").model_dump(mode="json"))
    if found:
        raise ConflictError(
            f"a run's specification cannot be changed: {'; '.join(found)}",
            where="spec",
            hint="Fork the run to go on from its checkpoint with other settings, or resume it without these",
        )
