"""What goes on all the while: predictions are asked for and metrics are scraped, and each answer is looked at."""

import re
import threading
import time
from collections import Counter
from typing import Any

import httpx
import numpy as np

from benchmarks.soak.house import House, Member

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
TOLERANCE = 1e-5
SAMPLE = re.compile(r"^(\w+_(?:total|count)(?:\{.*\})?) (\S+)$", re.MULTILINE)
# A process counts as disturbed until so many seconds after it answered again: what waits in it goes first.
SETTLING_SECONDS = 2.0


class Load:
    """Asks for predictions and scrapes metrics until it is stopped.

    Args:
        house: Whose processes are asked, and which of them are disturbed just now.
        gateway: The gateway's address.
        metrics: The address of each evaluator's metrics, by role.
    """

    def __init__(self, *, house: House, gateway: str, metrics: dict[str, str]) -> None:
        self.troubles: list[str] = []
        self.answers: Counter[str] = Counter()
        self.scrapes = 0
        self.models: set[tuple[str, int]] = set()
        self._house = house
        self._gateway = gateway
        self._metrics = {"gateway": gateway, **metrics}
        self._said: dict[tuple[str, int, str], np.ndarray[Any, Any]] = {}
        self._served = 0
        self._counted: dict[str, tuple[int, dict[str, float]]] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._ask, self._ask, self._scrape)]

    def start(self) -> None:
        """Starts asking."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stops asking."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        body = {"instances": PICTURES.tolist()}
        with httpx.Client(timeout=30) as client:
            while not self._stop.wait(0.05):
                member = self._house.members["gateway"]
                before, began = member.incarnation, time.monotonic()
                try:
                    answer = client.post(f"{self._gateway}/v1/models/best:classify?top=10", json=body)
                except httpx.HTTPError as error:
                    self.answers["no answer"] += 1
                    self._minded(member, before, began, f"a prediction failed: {error!r}")
                    continue
                self.answers[str(answer.status_code)] += 1
                if answer.status_code == 200:
                    self._served = before
                    self._one_model(answer.json())
                elif answer.status_code != 503 or self._served == before:
                    self._minded(
                        member, before, began, f"a prediction was answered {answer.status_code}: {answer.text}"
                    )

    def _one_model(self, answer: dict[str, Any]) -> None:
        key = (str(answer["run"]), int(answer["step"]), str(answer["weights"]))
        labels = [{one["label"]: one["probability"] for one in each["classes"]} for each in answer["predictions"]]
        said = np.array([[each[label] for label in sorted(each)] for each in labels])
        self.models.add(key[:2])
        known = self._said.setdefault(key, said)
        if known.shape != said.shape or np.abs(known - said).max() > TOLERANCE:
            self.troubles.append(f"two predictions that both name {key} differ by {np.abs(known - said).max()}")

    def _scrape(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.wait(0.5):
                for role, address in self._metrics.items():
                    member = self._house.members[role]
                    before, began = member.incarnation, time.monotonic()
                    try:
                        answer = client.get(f"{address}/metrics")
                    except httpx.HTTPError as error:
                        self._minded(member, before, began, f"{role} could not be scraped: {error!r}")
                        continue
                    if member.undisturbed_since == float("inf") and not member.leaving:
                        member.undisturbed_since = time.monotonic()
                    self.scrapes += 1
                    if answer.status_code != 200:
                        self.troubles.append(f"{role} answered {answer.status_code} to a scrape")
                    elif member.incarnation == before:
                        self._compare(role, before, answer.text)

    def _compare(self, role: str, incarnation: int, text: str) -> None:
        counters = {name: float(value) for name, value in SAMPLE.findall(text)}
        known, before = self._counted.get(role, (0, {}))
        if known == incarnation:
            for name, value in counters.items():
                if value < before.get(name, 0.0):
                    self.troubles.append(f"{role}: {name} went from {before[name]} back to {value}")
        self._counted[role] = (incarnation, counters)

    def _minded(self, member: Member, incarnation: int, began: float, trouble: str) -> None:
        """Notes a trouble unless the process was struck, or another one took its place, meanwhile."""
        if member.incarnation == incarnation and began > member.undisturbed_since + SETTLING_SECONDS:
            self.troubles.append(trouble)
