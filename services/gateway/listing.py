"""Which runs are listed: by state, label and name, a page at a time."""

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from services.gateway.index.shelf import Shelved
from services.gateway.steering.situation import Situation
from shared.errors import InputError
from shared.states import STATES

PAGE = 50
LONGEST_PAGE = 1_000
CURSOR = r"[0-9]{1,20}(\.[0-9]{1,20})?(e[+-][0-9]{1,3})?~[a-z0-9][a-z0-9-]{0,79}"
"""When a run was made, and its id. Clients take it as it is."""

Listed = Situation | Shelved


@dataclass(frozen=True)
class Filter:
    """What a run must be to be listed. What is empty asks for nothing.

    Attributes:
        states: One of these.
        labels: All of these, each a key and its value; None: whatever value.
        name: This name.
    """

    states: frozenset[str] = frozenset()
    labels: tuple[tuple[str, str | None], ...] = ()
    name: str | None = None

    @classmethod
    def parse(cls, *, states: Iterable[str] = (), labels: Iterable[str] = (), name: str | None = None) -> "Filter":
        """A filter from text: states alone or joined by commas, labels as `key=value` or `key`.

        Raises:
            InputError: There is no such state.
        """
        named = [state for text in states for state in text.split(",")]
        if unknown := sorted(set(named) - set(STATES)):
            raise InputError(
                f"there is no state {unknown[0]!r}", where="state", hint=f"It is one of {', '.join(STATES)}"
            )
        pairs = tuple(
            (key, value if equals else None) for key, equals, value in (each.partition("=") for each in labels)
        )
        return cls(states=frozenset(named), labels=pairs, name=name)

    @property
    def asks_for_nothing(self) -> bool:
        """Whether every run fits."""
        return self == Filter()

    def fits(self, run: Listed) -> bool:
        """Whether a run is what is asked for."""
        if self.states and run.state_name not in self.states:
            return False
        if self.name is not None and run.name != self.name:
            return False
        if not self.labels:
            return True
        has = run.labels
        return all(key in has and (value is None or has[key] == value) for key, value in self.labels)


@dataclass(frozen=True)
class Page:
    """Some of the runs, oldest first, and the cursor to the page of older ones, if there are any."""

    runs: list[Listed]
    next: str | None


def page(
    situations: Sequence[Situation], shelved: Sequence[Shelved] = (), *, which: Filter, limit: int, cursor: str | None
) -> Page:
    """The newest `limit` runs that fit and, with a cursor, are older than what it stands for.

    Args:
        situations: Runs, oldest first.
        shelved: Those on the shelf, newest first.
        which: What they must be.
        limit: How many at most.
        cursor: From an earlier page. It stays good whatever becomes of the runs on that page.

    Raises:
        InputError: The cursor is none.
    """
    before = None if cursor is None else _decoded(cursor)

    def fitting(runs: Iterable[Listed]) -> Iterator[Listed]:
        return (each for each in runs if (before is None or _place(each) < before) and which.fits(each))

    chosen: list[Listed] = []
    for each in heapq.merge(fitting(reversed(situations)), fitting(shelved), key=_place, reverse=True):
        if len(chosen) == limit:
            return Page(chosen[::-1], _encoded(_place(chosen[-1])))
        chosen.append(each)
    return Page(chosen[::-1], None)


def _place(run: Listed) -> tuple[float, str]:
    return (run.created, run.id)


def _encoded(place: tuple[float, str]) -> str:
    created, run_id = place
    return f"{created!r}~{run_id}"


def _decoded(cursor: str) -> tuple[float, str]:
    if not re.fullmatch(CURSOR, cursor):
        raise InputError("this is no cursor", where="cursor", hint="Take `next` of an earlier answer as it is")
    created, _, run_id = cursor.partition("~")
    return float(created), run_id
