"""How runs stand: the state of each, and all of them in order. It changes nothing; `control` does."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from services.gateway.index import Index, Run
from services.gateway.index.shelf import Shelved
from services.gateway.steering.journal import History, Journal
from services.gateway.steering.situation import Situation, waiting, worked
from services.gateway.steering.slots import Slots
from services.gateway.steering.state import derive
from services.gateway.steering.transitions import allowed
from shared.errors import TandemError, UnavailableError
from shared.states import SETTLED


class Situations:
    """Tells how runs stand. Safe to use from several threads.

    Args:
        index: What is known of the runs.
        journal: What the gateway did with them.
        slots: What is seen of their trainers.
        clock: Seconds since the epoch.
        price_per_hour: Of a slot, in whatever currency; None if it is not known.
    """

    def __init__(
        self,
        *,
        index: Index,
        journal: Journal,
        slots: Slots,
        clock: Callable[[], float],
        price_per_hour: float | None = None,
    ) -> None:
        self._index = index
        self._journal = journal
        self._slots = slots
        self._clock = clock
        self._price = price_per_hour
        self._settled: dict[str, tuple[Run, History, Situation]] = {}

    def show(self, run_id: str) -> Situation:
        """One run, as it is now. Raises like `Index.get`."""
        situation = self.of(self._index.get(run_id))
        if situation.state.state != "queued":
            return situation
        place = [each.run.id for each in self.queue()].index(run_id) + 1
        return replace(situation, position=place)

    def awake(self) -> list[Situation]:
        """Every readable run that is not on the shelf, oldest first: all but those that settled long ago."""
        return self._placed(self._index.runs())

    def listed(self) -> tuple[list[Situation], Sequence[Shelved]]:
        """Every readable run, oldest first; those on the shelf apart, newest first."""
        runs, shelved = self._index.all()
        return self._placed(runs), shelved

    def queue(self) -> list[Situation]:
        """The runs that wait for a slot, in the order in which they get one."""
        return waiting(self.of(run) for run in self._index.runs())

    def problems(self) -> dict[str, TandemError]:
        """The runs that cannot be read, and why."""
        return self._index.problems()

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

    def of(self, run: Run) -> Situation:
        """The situation of a run, by what was last seen, but for its place in the queue."""
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
            cost=self.cost(seconds),
            turns=history.turns,
        )
        if state.state in SETTLED and not trainer.alive:
            # Nothing more happens to it without a new file or a new event: thousands of these cost nothing.
            self._settled[run.id] = (run, history, situation)
        return situation

    def at_work(self, run: Run) -> bool:
        """Whether a run may change at any moment."""
        return self.of(run).state.state not in SETTLED

    def cost(self, seconds: float) -> float | None:
        """What a slot costs for so long; None if there is no price."""
        return None if self._price is None else seconds / 3600 * self._price

    def keep(self, awake: Collection[str]) -> None:
        """Drops what is remembered of all runs but these."""
        for run_id in list(self._settled):
            if run_id not in awake:
                self._settled.pop(run_id, None)

    def forget(self, run_id: str) -> None:
        """Drops what is remembered of a run that is gone."""
        self._settled.pop(run_id, None)

    def _placed(self, runs: Iterable[Run]) -> list[Situation]:
        found = [self.of(run) for run in runs]
        places = {each.run.id: place for place, each in enumerate(waiting(found), start=1)}
        if not places:
            return found
        return [replace(each, position=places[each.run.id]) if each.run.id in places else each for each in found]
