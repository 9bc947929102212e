"""Metrics are scraped all the while: whoever is there answers 200, and no counter falls within a process."""

import re
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import httpx

from benchmarks.soak.house import House
from benchmarks.soak.load import Load

SAMPLE = re.compile(r"^(\w+_(?:total|count|sum|bucket)(?:\{.*\})?) (\S+)$", re.MULTILINE)
PERIOD_SECONDS = 0.5
PATIENCE_SECONDS = 30.0  # longer than anybody is frozen


class Scraper(Load):
    """Scrapes everybody until it is stopped.

    Args:
        house: Whose processes are asked, and which of them are disturbed just now.
        addresses: Of the gateway and of each evaluator, by role.
    """

    def __init__(self, *, house: House, addresses: dict[str, str]) -> None:
        super().__init__(
            partial(self._all, self._member, list(addresses)),
            *(partial(self._all, self._trainer, [slot]) for slot in house.slots),
        )
        self.scrapes: Counter[str] = Counter()
        self._house = house
        self._addresses = addresses
        self._counted: dict[str, tuple[int, dict[str, float]]] = {}

    def _all(self, scrape: Callable[[httpx.Client, str], None], roles: list[str]) -> None:
        with httpx.Client(timeout=PATIENCE_SECONDS) as client:
            while self.goes_on(PERIOD_SECONDS):
                for role in roles:
                    scrape(client, role)

    def _member(self, client: httpx.Client, role: str) -> None:
        member = self._house.members[role]
        incarnation, began = member.incarnation, time.monotonic()
        try:
            answer = client.get(f"{self._addresses[role]}/metrics")
        except httpx.HTTPError as error:
            if member.is_undisturbed(incarnation, began):
                self.troubles.append(f"{role} could not be scraped: {error!r}")
            return
        member.answered()
        if member.incarnation == incarnation:
            self._look(role, incarnation, answer)

    def _trainer(self, client: httpx.Client, role: str) -> None:
        # A trainer comes and goes with its run. While its port is open it must answer.
        pid, port = self._house.door(role)
        if port is None:
            return
        try:
            answer = client.get(f"http://127.0.0.1:{port}/metrics")
        except httpx.HTTPError as error:
            if self._house.door(role) == (pid, port):
                self.troubles.append(f"the trainer in {role} could not be scraped: {error!r}")
            return
        self._look(role, pid, answer)

    def _look(self, role: str, process: int, answer: httpx.Response) -> None:
        self.scrapes[role] += 1
        if answer.status_code != 200:
            self.troubles.append(f"{role} answered {answer.status_code} to a scrape")
            return
        counters = {name: float(value) for name, value in SAMPLE.findall(answer.text)}
        known, before = self._counted.get(role, (0, {}))
        if known == process:
            for name, value in counters.items():
                if value < before.get(name, 0.0):
                    self.troubles.append(f"{role}: {name} went from {before[name]} back to {value}")
        self._counted[role] = (process, counters)
