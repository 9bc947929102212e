"""What the gateway did with each run: `runs/<run>/gateway/events.jsonl`, and the history that follows from it.

The gateway is the file's one writer. Everything it must remember beyond its own life (fencing numbers, restarts without
progress, that it gave up) is an event there, so the next gateway knows it too.

| kind | details | written |
| --- | --- | --- |
| created | recipe | when the run was asked for |
| desired | state, generation | when something else was wanted of it; the message says why |
| assigned | slot, fence, checkpoint_step, task | after `assignment.json`, before the start |
| spawned | slot, fence, pid | after the start |
| adopted | slot, fence, pid | when a trainer of an earlier gateway was found at work |
| ended | slot, fence, exit_code, phase, outcome, checkpoint_step, generation, hopeless, seconds | when one has ended |
| ended | the same, and training, evaluating (seconds) | when an evaluator's turn is over |
| gave_up | restarts | when it will not be started again |
| pinned, unpinned | step | when a checkpoint was to be kept, or not any more |
| alias | alias, step, before, pinned, canary | when an alias moved or something was decided about it |
| tagged | priority, labels | when these were changed |
| state | from, to | at each change of the derived state; the message is the reason |
"""

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from services.gateway.steering.turns import NO_TURNS, Turns
from shared.layout import RunFolder, Volume
from shared.records import Event, LineWriter, read_lines

DIED = "died"


@dataclass(frozen=True)
class History:
    """What follows from a run's events so far.

    Attributes:
        created: Whether it was written down that the run was asked for.
        told: The generation of what is desired that was written down last; -1 if none was.
        fence: The greatest fencing number that was given to the run.
        started_step: The newest checkpoint at that time.
        spawned: The greatest one with which a trainer was started.
        ended: The greatest one whose trainer is known to have ended.
        since: When the trainer at work was started or found, in seconds since the epoch; None if none is.
        seconds: For how long trainers have worked on the run that have ended since.
        generation: What was desired when a trainer last died. What follows from deaths (the rest but the last) holds
            for that alone: who asks for something new gives the run a new budget.
        restarts: How many trainers died.
        deaths: How many of them in a row without a new checkpoint.
        checkpoint_step: The newest checkpoint when the last one died.
        hopeless: Why another trainer would meet what the last one died of, if that is so.
        death: How it died, while no other has been started since.
        gave_up: Why no other will be.
        state: The state that was last written down.
        turns: Of trainer and evaluator, in a run that alternates.
    """

    created: bool = False
    told: int = -1
    fence: int = 0
    spawned: int = 0
    started_step: int | None = None
    ended: int = 0
    since: float | None = None
    seconds: float = 0.0
    generation: int = 0
    restarts: int = 0
    deaths: int = 0
    checkpoint_step: int | None = None
    hopeless: str | None = None
    death: str | None = None
    gave_up: str | None = None
    state: str | None = None
    turns: Turns = NO_TURNS

    def under(self, generation: int) -> "History":
        """The history as it counts for what is desired now."""
        if generation <= self.generation:
            return self
        return replace(self, generation=generation, restarts=0, deaths=0, hopeless=None, death=None, gave_up=None)


def fold(history: History, event: Event) -> History:
    """The history after one more event. An event that it does not know changes nothing."""
    step = _FOLDS.get(event.kind)
    return history if step is None else replace(step(history, event), turns=history.turns.after(event))


def _after_creation(history: History, _event: Event) -> History:
    return replace(history, created=True, told=max(history.told, 0))


def _after_wish(history: History, event: Event) -> History:
    return replace(history, told=max(history.told, int(event.details["generation"])))


def _after_assignment(history: History, event: Event) -> History:
    fence = max(history.fence, int(event.details["fence"]))
    return replace(history, fence=fence, started_step=event.details.get("checkpoint_step"))


def _after_start(history: History, event: Event) -> History:
    spawned = max(history.spawned, int(event.details["fence"]))
    return replace(history, spawned=spawned, since=event.time, death=None)


def _after_end(history: History, event: Event) -> History:
    details = event.details
    history = replace(
        history.under(int(details.get("generation", 0))),
        ended=max(history.ended, int(details["fence"])),
        since=None,
        seconds=history.seconds + float(details.get("seconds", 0.0)),
    )
    if details["outcome"] != DIED:
        return replace(history, deaths=0, death=None)
    step = details["checkpoint_step"]
    progress = step is not None and (history.checkpoint_step is None or step > history.checkpoint_step)
    return replace(
        history,
        restarts=history.restarts + 1,
        deaths=1 if progress else history.deaths + 1,
        checkpoint_step=step,
        hopeless=details.get("hopeless"),
        death=event.message,
    )


_FOLDS: Mapping[str, Callable[[History, Event], History]] = {
    "created": _after_creation,
    "desired": _after_wish,
    "assigned": _after_assignment,
    "spawned": _after_start,
    "adopted": _after_start,
    "ended": _after_end,
    "gave_up": lambda history, event: replace(history, gave_up=event.message),
    "state": lambda history, event: replace(history, state=str(event.details["to"])),
}


class Journal:
    """Writes the gateway's events and knows each run's history.

    Args:
        volume: Where the runs lie.
        clock: Seconds since the epoch.
    """

    def __init__(self, *, volume: Volume, clock: Callable[[], float]) -> None:
        self._volume = volume
        self._clock = clock
        self._histories: dict[str, History] = {}

    def history(self, run_id: str) -> History:
        """The run's whole history; read from the volume the first time."""
        history = self._histories.get(run_id)
        if history is None:
            history = History()
            for event in self.events(self._volume.run(run_id)):
                history = fold(history, event)
            self._histories[run_id] = history
        return history

    def write(self, run_id: str, kind: str, message: str, **details: Any) -> None:
        """Appends an event, durably enough to survive the process."""
        history = self.history(run_id)
        self._histories[run_id] = fold(history, self._append(self._volume.run(run_id), kind, message, details))

    def note(self, run_id: str, kind: str, message: str, **details: Any) -> None:
        """Appends an event that nothing follows from. Safe in any thread; a run that is gone is passed over."""
        folder = self._volume.run(run_id)
        if not folder.spec.exists():
            return
        with contextlib.suppress(FileNotFoundError):
            self._append(folder, kind, message, details, within=folder.root)

    def forget(self, run_id: str) -> None:
        """Drops what is known of a run that is gone."""
        self._histories.pop(run_id, None)

    def keep(self, runs: Collection[str]) -> None:
        """Drops what is known of all runs but these; it is read again when asked for."""
        for run_id in list(self._histories):
            if run_id not in runs:
                self._histories.pop(run_id, None)

    def events(self, folder: RunFolder) -> list[Event]:
        """All events of a run, oldest first."""
        return [event for _, event in read_lines(folder.gateway_events, Event)]

    def _append(
        self, folder: RunFolder, kind: str, message: str, details: dict[str, Any], *, within: Path | None = None
    ) -> Event:
        event = Event(time=self._clock(), service="gateway", kind=kind, message=message, details=details)
        writer = LineWriter(folder.gateway_events, within=within)
        try:
            writer.append(event)
        finally:
            writer.close()
        return event
