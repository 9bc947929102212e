"""What the gateway did with each run: `runs/<run>/gateway/events.jsonl`, and the history that follows from it.

The gateway is the file's one writer. Everything it must remember beyond its own life (fencing numbers, restarts without
progress, that it gave up) is an event there, so the next gateway knows it too.

| kind | details | written |
| --- | --- | --- |
| created | recipe | when the run was asked for |
| desired | state | when somebody asked for another state |
| assigned | slot, fence | after `assignment.json`, before the start |
| spawned | slot, fence, pid | after the start |
| adopted | slot, fence, pid | when a trainer of an earlier gateway was found at work |
| ended | slot, fence, exit_code, phase, outcome, checkpoint_step | when a trainer is found to have ended |
| gave_up | restarts | when it will not be started again |
| state | from, to | at each change of the derived state; the message is the reason |
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from shared.layout import RunFolder, Volume
from shared.records import Event, LineWriter, read_lines

DIED = "died"


@dataclass(frozen=True)
class History:
    """What follows from a run's events so far.

    Attributes:
        fence: The greatest fencing number that was given to the run.
        spawned: The greatest one with which a trainer was started.
        ended: The greatest one whose trainer is known to have ended.
        deaths: How many trainers in a row died without a new checkpoint.
        checkpoint_step: The newest checkpoint when the last one died.
        death: How it died, while no other has been started since.
        gave_up: Why no other will be.
        state: The state that was last written down.
    """

    fence: int = 0
    spawned: int = 0
    ended: int = 0
    deaths: int = 0
    checkpoint_step: int | None = None
    death: str | None = None
    gave_up: str | None = None
    state: str | None = None


def fold(history: History, event: Event) -> History:
    """The history after one more event. An event that it does not know changes nothing."""
    details = event.details
    match event.kind:
        case "assigned":
            return replace(history, fence=max(history.fence, int(details["fence"])))
        case "spawned" | "adopted":
            return replace(history, spawned=max(history.spawned, int(details["fence"])), death=None)
        case "ended":
            return _after_end(history, event)
        case "gave_up":
            return replace(history, gave_up=event.message)
        case "state":
            return replace(history, state=str(details["to"]))
        case _:
            return history


def _after_end(history: History, event: Event) -> History:
    ended = replace(history, ended=max(history.ended, int(event.details["fence"])))
    if event.details["outcome"] != DIED:
        return replace(ended, deaths=0, death=None)
    step = event.details["checkpoint_step"]
    progress = step is not None and (history.checkpoint_step is None or step > history.checkpoint_step)
    return replace(ended, deaths=1 if progress else history.deaths + 1, checkpoint_step=step, death=event.message)


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
        """The run's history; read from the volume the first time."""
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
        event = Event(time=self._clock(), service="gateway", kind=kind, message=message, details=details)
        writer = LineWriter(self._volume.run(run_id).gateway_events)
        try:
            writer.append(event)
        finally:
            writer.close()
        self._histories[run_id] = fold(history, event)

    def events(self, folder: RunFolder) -> list[Event]:
        """All events of a run, oldest first."""
        return [event for _, event in read_lines(folder.gateway_events, Event)]
