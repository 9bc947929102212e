"""A gateway, evaluators and trainers at work on one volume, with all that is asked of them and looked at meanwhile."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.soak.api import Api
from benchmarks.soak.descriptors import Descriptors, left_open
from benchmarks.soak.house import House
from benchmarks.soak.predictions import Predictions
from benchmarks.soak.scrapes import Scraper
from benchmarks.soak.watch import Watch
from shared.layout import RunFolder, Volume, listed_steps
from shared.spec import parse_spec

CLOSING_SECONDS = 10.0


class Household:
    """Everything at once.

    Args:
        root: The folder of its volume and logs.
        spec: Of each of its runs.
        trainers: How many there are.
        evaluators: How many there are.

    Attributes:
        held: When all is over: how many descriptors a gateway, an evaluator and a trainer (`slot`) had.
    """

    def __init__(self, *, root: Path, spec: dict[str, Any], trainers: int, evaluators: int) -> None:
        self.volume = Volume(root / "volume")
        self.held: dict[str, int] = {}
        self._root = root
        self._spec = spec
        self._left_open: list[str] = []
        gateway, *metrics_ports = _free_ports(1 + evaluators)
        self.house = House(
            volume=self.volume.root, logs=root, port=gateway, metrics_ports=metrics_ports, slots=trainers
        )
        addresses = {
            role: f"http://127.0.0.1:{port}"
            for role, port in zip(self.house.members, (gateway, *metrics_ports), strict=True)
        }
        self.api = Api(address=addresses["gateway"], spec=spec)
        self.predictions = Predictions(house=self.house, address=addresses["gateway"], volume=self.volume)
        self.scraper = Scraper(house=self.house, addresses=addresses)
        self.watch = Watch(volume=self.volume)
        self.descriptors = Descriptors(house=self.house)
        self._loads = (self.predictions, self.scraper, self.watch, self.descriptors)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Starts all, and goes on when the gateway is ready. Nothing of it outlives the block."""
        self._root.mkdir(parents=True, exist_ok=True)
        for each in (self.house, *self._loads):
            each.start()
        try:
            self.api.until(lambda: self.api.get("/readyz") is not None, "ready gateway")
            yield
        finally:
            self._stop_loads()
            self.house.kill_all()

    def see_through(self) -> list[RunFolder]:
        """Waits until every run is over and judged, then stops all in order. Returns the runs."""
        folders = [self.volume.run(run) for run in self.api.wait_for_all()]
        self.api.until(lambda: all(map(self._is_judged, folders)), "verdict on every checkpoint that is still there")
        self.api.until(lambda: self.predictions.answers["200"], "prediction")
        self.api.until(self.house.is_back, "answer of everybody")
        self._stop_loads()
        self.held = self._descriptors()
        self.house.stop()
        return folders

    def troubles(self) -> list[str]:
        """What went wrong."""
        seen = [trouble for load in self._loads for trouble in load.troubles]
        return [*seen, *self.house.troubles, *self._left_open]

    def _stop_loads(self) -> None:
        for each in self._loads:
            each.stop()

    def _descriptors(self) -> dict[str, int]:
        """How many are open now that all is quiet; of trainers, which are gone, the most that one had."""
        deadline = time.monotonic() + CLOSING_SECONDS
        while True:
            open_now = self.house.descriptors()
            self._left_open = [
                f"{role} keeps {name} open"
                for role, links in open_now.items()
                for name in left_open(self.volume, links)
            ]
            if not self._left_open or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        counts = {role: len(links) for role, links in open_now.items()} | self.descriptors.most
        most: dict[str, int] = {}
        for role, count in counts.items():
            kind = role.partition("-")[0]
            most[kind] = max(most.get(kind, 0), count)
        return most

    def _is_judged(self, folder: RunFolder) -> bool:
        kinds = parse_spec(self._spec, source="soak").weights_kinds
        return all(folder.verdict(step, kind).exists() for step in listed_steps(folder.checkpoints) for kind in kinds)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
