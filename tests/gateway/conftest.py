"""What the gateway's tests share: its real parts over a folder, with a launcher and clocks that tests move by hand."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.gateway.app import create_app
from services.gateway.encoded import EncodedViews
from services.gateway.follower import Follower
from services.gateway.index import Index
from services.gateway.index.shelf import Shelf
from services.gateway.launchers.base import Observation
from services.gateway.parts import Parts
from services.gateway.pictures import Pictures
from services.gateway.shelving import AWAKE, Shelver
from services.gateway.steering.control import RunControl
from services.gateway.steering.journal import Journal
from services.gateway.steering.metrics import RunMetrics
from services.gateway.steering.parts import SteeringParts
from services.gateway.steering.reconcile import Reconciler
from services.gateway.steering.settling import Settler
from services.gateway.steering.situations import Situations
from services.gateway.steering.slots import Slots
from services.gateway.steering.starting import RunStarter
from services.gateway.streams.feed import Feed
from services.gateway.streams.streams import Streams
from shared.data.catalog import open_dataset
from shared.errors import ConflictError, UnavailableError
from shared.layout import RunFolder, Volume
from shared.records import Assignment, Event, TrainerPhase, read_lines, read_record, write_record
from shared.spec import DatasetSpec
from tests.statuses import trainer_status

RECIPES = {"tiny": "name: tiny\nsteps: 100\ndataset: {kind: shapes}\n", "broken": "- not\n- a mapping\n"}


class Client:
    """Sends requests to an ASGI application, one at a time."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(send())

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("GET", path, **arguments)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("POST", path, **arguments)


@dataclass
class FakeLauncher:
    """Slots whose trainers do what the test says. Outlives a gateway, as processes do."""

    names: list[str]
    alive: dict[str, int] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    retired: set[str] = field(default_factory=set)
    out_of_memory: set[str] = field(default_factory=set)
    trouble: Exception | None = None
    away: UnavailableError | None = None
    on_start: Callable[[], None] = lambda: None

    def check(self) -> None:
        if self.away is not None:
            raise self.away

    def slots(self) -> Sequence[str]:
        self.check()
        return self.names

    def start(self, slot: str) -> int | None:
        if slot in self.alive:
            raise ConflictError("a trainer is there already", where=slot)
        if self.trouble is not None:
            raise self.trouble
        self.on_start()
        self.started.append(slot)
        self.exits.pop(slot, None)
        self.alive[slot] = 1000 + len(self.started)
        return self.alive[slot]

    def stop(self, slot: str, grace: float) -> None:
        self.stopped.append(slot)

    def kill(self, slot: str) -> None:
        self.die(slot, -9)

    def observe(self, slot: str) -> Observation:
        return Observation(
            alive=slot in self.alive,
            pid=self.alive.get(slot),
            exit_code=self.exits.get(slot),
            retired=slot in self.retired,
            out_of_memory=slot in self.out_of_memory,
        )

    def die(self, slot: str, exit_code: int | None) -> None:
        del self.alive[slot]
        if exit_code is not None:
            self.exits[slot] = exit_code


class NoModel:
    """Stands for a predictor that has nothing to predict with."""

    def why_not_ready(self) -> str | None:
        return "nothing was judged"


class Bench:
    """A gateway's parts. `restart` makes them anew over the same volume and the same trainers."""

    def __init__(self, root: Path) -> None:
        self.volume = Volume(root / "volume")
        self.launcher = FakeLauncher(names=["slot-0"])
        self.recipes = root / "recipes"
        self.recipes.mkdir()
        for name, text in RECIPES.items():
            (self.recipes / f"{name}.yaml").write_text(text)
        self.now = 1_000.0
        self.epoch = 1_772_360_100.0
        self.awake = AWAKE
        self.woken = 0
        self.missing: Exception | None = None
        self.copied: set[str] = set()
        self.restart()

    def restart(self) -> None:
        self._app: FastAPI | None = None
        self.registry = CollectorRegistry()
        self.journal = Journal(volume=self.volume, clock=lambda: self.epoch)
        self.shelf = Shelf(path=self.volume.gateway / "settled.jsonl", maker="test")
        self.index = Index(volume=self.volume, clock=lambda: self.now, shelf=self.shelf)
        self.slots = Slots(volume=self.volume, launcher=self.launcher, clock=lambda: self.now, silence=30)
        self.runs = Situations(
            index=self.index, journal=self.journal, slots=self.slots, clock=lambda: self.epoch, price_per_hour=2.0
        )
        steering = SteeringParts(
            index=self.index,
            runs=self.runs,
            journal=self.journal,
            slots=self.slots,
            time=lambda: self.epoch,
            lock=threading.RLock(),
            wake=self._wake,
        )
        self.control = RunControl(parts=steering)
        self.starter = RunStarter(
            parts=steering,
            volume=self.volume,
            recipes_folder=self.recipes,
            check_dataset=self._check_dataset,
            price_per_hour=2.0,
        )
        self.reconciler = Reconciler(
            parts=steering,
            volume=self.volume,
            control=self.control,
            settler=Settler(
                index=self.index,
                journal=self.journal,
                clock=lambda: self.now,
                time=lambda: self.epoch,
                attempts=3,
                backoff=1,
                longest_backoff=3,
            ),
            launcher=self.launcher,
            metrics=RunMetrics(self.registry),
            clock=lambda: self.now,
            stop_grace=60,
            arriving=lambda folder: folder.id in self.copied,
            shelve=Shelver(parts=steering, awake=self.awake).step,
        )
        self.feed = Feed(folder=self.volume.gateway / "feed")
        self.follower = Follower(index=self.index, journal=self.journal, feed=self.feed, clock=lambda: self.epoch)
        views = EncodedViews()
        self.streams = Streams(volume=self.volume, runs=self.runs, views=views, feed=self.feed, poll=0.01)
        self.parts = Parts(
            runs=self.runs,
            starter=self.starter,
            control=self.control,
            slots=self.slots,
            predictor=NoModel(),
            streams=self.streams,
            views=views,
            checks={"volume": self.starter},
            recipes_folder=self.recipes,
            pictures=Pictures(open_dataset=lambda spec: open_dataset(spec, volume=self.volume)),
        )

    def client_of(self, app: FastAPI) -> Client:
        return Client(app)

    def client(self, **arguments: Any) -> Client:
        return self.client_of(self.app(**arguments))

    def app(self, **arguments: Any) -> FastAPI:
        if self._app is None:
            self._app = create_app(self.parts, registry=self.registry, **arguments)
        return self._app

    def start(self, **changes: Any) -> str:
        self.epoch += 1
        return self.starter.start(recipe="tiny", changes=changes).run.id

    def step(self, *, seconds: float = 0) -> None:
        self.now += seconds
        self.reconciler.step()

    def finish(self, run: str, *, slot: str = "slot-0") -> None:
        """Has the trainer of a run make its last step and end."""
        self.report(run, "completed", slot=slot, step=100)
        self.launcher.die(slot, 0)
        self.step()

    def folder(self, run: str) -> RunFolder:
        return self.volume.run(run)

    def state(self, run: str) -> str:
        return self.runs.show(run).state.state

    def reason(self, run: str) -> str:
        return self.runs.show(run).state.reason

    def fence(self, slot: str = "slot-0") -> int:
        return self.assignment(slot).fence

    def assignment(self, slot: str = "slot-0") -> Assignment:
        return read_record(self.volume.slot(slot).assignment, Assignment)

    def report(self, run: str, phase: TrainerPhase, *, slot: str = "slot-0", **values: Any) -> None:
        """Writes a trainer's status, as the trainer of the slot's assignment would."""
        values = {"fence": values.get("fence") or self.fence(slot), **values}
        write_record(self.folder(run).status, trainer_status(run, slot=slot, phase=phase, **values))

    def checkpoint(self, run: str, step: int) -> None:
        self.folder(run).checkpoint(step).mkdir(parents=True)

    def events(self, run: str) -> list[Event]:
        return [event for _, event in read_lines(self.folder(run).gateway_events, Event)]

    def kinds(self, run: str) -> list[str]:
        return [event.kind for event in self.events(run) if event.kind != "state"]

    def states(self, run: str) -> list[str]:
        return [event.details["to"] for event in self.events(run) if event.kind == "state"]

    def write_json(self, path: Path, values: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))

    def _wake(self) -> None:
        self.woken += 1

    def _check_dataset(self, spec: DatasetSpec) -> None:
        if self.missing is not None:
            raise self.missing


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    return Bench(tmp_path)
