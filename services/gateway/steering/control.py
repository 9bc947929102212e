"""Run control: what people may ask of runs. It writes what is desired; the reconcile loop makes it so."""

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from typing import Any, Literal

from services.gateway.index import Run
from services.gateway.predict.aliases import set_by_hand
from services.gateway.steering.parts import SteeringParts
from services.gateway.steering.rules import reason_to_end
from services.gateway.steering.situation import Situation
from services.gateway.steering.transitions import is_done
from shared import atomic
from shared.checkpoints import CheckpointStore, pinned_steps
from shared.differences import differences
from shared.errors import ConflictError, NotFoundError, SpecError
from shared.layout import RunFolder
from shared.locks import exports_lock
from shared.records import Desired, Pins, Tags, write_record
from shared.spec import overlay, parse_spec
from shared.steps import extensible

log = logging.getLogger(__name__)


class RunControl:
    """Changes what is desired of runs, and what is kept of them.

    Args:
        parts: What it shares with the others who steer.
    """

    def __init__(self, *, parts: SteeringParts) -> None:
        self._parts = parts

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
                now.require("pause")
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
            _refuse_other_spec(now.run, changes or {})
            extending = steps is not None and steps != now.run.steps
            if not extending:
                if is_done("resume", now.state.state):
                    return None
                now.require("resume")
                return {"state": "running"}
            _require_extension(now, steps)
            return {"state": "running", "steps": steps}

        said = "resume was asked for" if steps is None else f"resume was asked for, to make {steps} steps"
        return self._change(run_id, change, reason=reason or said)

    def stop(self, run_id: str, *, reason: str = "") -> Situation:
        """Asks for a run to end for good, with a last checkpoint. Asking again changes nothing."""

        def change(now: Situation) -> dict[str, Any] | None:
            if is_done("stop", now.state.state):
                return None
            now.require("stop")
            return {"state": "stopped", "kill": False}

        return self._change(run_id, change, reason=reason or "stop was asked for")

    def kill(self, run_id: str, *, reason: str = "") -> Situation:
        """Asks for a run to end for good, at once, without a last checkpoint."""

        def change(now: Situation) -> dict[str, Any] | None:
            dying = now.state.state == "stopping" and now.run.desired is not None and now.run.desired.kill
            if dying or is_done("kill", now.state.state):
                return None
            now.require("kill")
            return {"state": "stopped", "kill": True}

        return self._change(run_id, change, reason=reason or "kill was asked for")

    def restart(self, run_id: str, *, reason: str = "") -> Situation:
        """Asks for a run that was stopped or has failed to go on from its newest checkpoint, with a new budget."""

        def change(now: Situation) -> dict[str, Any] | None:
            if is_done("restart", now.state.state):
                return None
            now.require("restart")
            judged = max((each.step for each in now.run.verdicts), default=0)
            return {"state": "running", "kill": False, "rules_from": judged, "seconds_from": now.seconds}

        return self._change(run_id, change, reason=reason or "restart was asked for")

    def end_by_rule(self, situation: Situation) -> None:
        """Stops a run if its specification's rules say so, with the reason."""
        run = situation.run
        begin = 0.0 if run.desired is None else run.desired.seconds_from
        seconds = situation.seconds - begin
        reason = reason_to_end(run, seconds=seconds, cost=self._parts.runs.cost(seconds))
        if reason is not None:
            self.stop(run.id, reason=reason)

    def pin(self, run_id: str, step: int, *, pinned: bool) -> None:
        """Keeps a checkpoint whatever the specification says about retention, or leaves it to that again.

        Raises:
            NotFoundError: There is no such run or checkpoint (any more).
        """
        with self._parts.lock:
            folder = self._parts.index.get(run_id).folder
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
            self._parts.journal.write(run_id, what, f"the checkpoint at step {step} was {what}", step=step)

    def delete(self, run_id: str) -> None:
        """Removes a run that has ended, with all that it made: it leaves its name in one step, then its files go.

        No alias of it moves meanwhile: one that somebody is setting in this moment is set before, and keeps the run, or
        not at all.
        """
        with self._no_alias_moves(self._parts.runs.show(run_id).run.folder), self._parts.lock:
            now = self._parts.runs.show(run_id)
            now.require("delete")
            if aliases := set_by_hand(now.run.folder):
                shown = ", ".join(f"{name} at step {step}" for name, step in sorted(aliases.items()))
                raise ConflictError(
                    f"aliases point at it: {shown}",
                    where=f"run {run_id}",
                    hint="Move or remove them first: DELETE /v1/models/{model}/aliases/{alias}",
                )
            trash = atomic.discard_folder(now.run.folder.root)
            self._parts.index.forget(run_id)
            self._parts.journal.forget(run_id)
            self._parts.runs.forget(run_id)
        log.info("run %s was deleted", run_id, extra={"run": run_id})
        if trash is not None:
            shutil.rmtree(trash, ignore_errors=True)
        self._parts.wake()

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
        with self._parts.lock:
            run = self._parts.index.get(run_id)
            before = run.tags
            after = Tags(
                priority=before.priority if priority is None else priority,
                labels=before.labels if labels is None else {**before.labels, **labels},
            )
            if after != before:
                write_record(run.folder.tags, after)
                self._parts.journal.write(run_id, "tagged", "priority or labels were changed", **after.model_dump())
        self._parts.wake()
        return self._parts.runs.show(run_id)

    def tell(self, run: Run) -> None:
        """Writes down what was asked for, where a gateway was killed between doing so and saying so."""
        history = self._parts.journal.history(run.id)
        if run.desired is None:
            return
        if run.desired.generation == 0 and not history.created:
            recipe = None if run.origin is None else run.origin.recipe
            self._parts.journal.write(run.id, "created", "was asked for", recipe=recipe)
        elif run.desired.generation > history.told:
            self._tell_desired(run.id, run.desired)

    def _change(self, run_id: str, change: Callable[[Situation], dict[str, Any] | None], *, reason: str) -> Situation:
        """Puts another record in place of what is desired, if `change` says what is to be different in it."""
        with self._parts.lock:
            now = self._parts.runs.show(run_id)
            self.tell(now.run)
            different = change(now)
            if different is not None:
                self._parts.slots.check()
                before = now.run.desired or Desired(generation=0, state="running", time=0.0)
                desired = before.model_copy(
                    update={
                        **different,
                        "generation": now.run.generation + 1,
                        "reason": reason,
                        "time": self._parts.time(),
                    }
                )
                write_record(now.run.folder.desired, desired)
                self._tell_desired(run_id, desired)
        if different is not None:
            self._parts.wake()
        return self._parts.runs.show(run_id)

    def _tell_desired(self, run_id: str, desired: Desired) -> None:
        details = desired.model_dump(exclude={"schema_version", "reason", "time"})
        self._parts.journal.write(run_id, "desired", desired.reason, **details)


def _refuse_other_spec(run: Run, changes: dict[str, Any]) -> None:
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


def _require_extension(now: Situation, steps: int | None) -> None:
    if not extensible(now.run.spec):
        raise ConflictError(
            f"run {now.run.id} cannot be extended: its learning rate's course depends on the number of steps",
            where="steps",
            hint="Fork it with another learning_rate, or with other steps",
        )
    now.require("extend")
    if steps is not None and steps < now.run.steps:
        raise SpecError(
            f"a run can be made longer, not shorter: it is to make {now.run.steps} steps, not {steps}",
            where="steps",
            hint="Stop it, and it ends where it is",
        )
