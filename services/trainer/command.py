"""The trainer as a command: what is asked for, under which right, and how each ending is told.

Exit status: 0 when the run is complete, stopped or released, or when there was nothing to train; 1 when it failed; 2
when what was handed in (flags, variables, the spec, a name) is wrong.
"""

import argparse
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.trainer.beginning import EngineBuilder
from services.trainer.engine import Engine
from services.trainer.fencing import Identity, Tenure
from services.trainer.gpu import Gpus
from services.trainer.journal import Events, Journal
from services.trainer.metrics import TrainerMetrics
from services.trainer.preflight import record_slot
from services.trainer.session import Clocks, DatasetOpener, Session
from services.trainer.settings import TrainerSettings
from services.trainer.status import Heartbeat
from shared import atomic, logs, observe
from shared.checkpoints import read_spec
from shared.data.examples import Dataset
from shared.differences import differences
from shared.errors import (
    DatasetCorruptError,
    DatasetMissingError,
    DivergedError,
    FencedError,
    InputError,
    NotFoundError,
    SettingsError,
    SpecError,
    TandemError,
    VolumeError,
)
from shared.layout import RunFolder, Volume
from shared.lifecycle import StopEvent
from shared.recipes import load_recipe
from shared.records import (
    Assignment,
    Device,
    SlotRecord,
    TrainerPhase,
    TrainerStatus,
    encode_record,
    read_record_or_none,
)
from shared.spec import RunSpec, parse_spec

log = logging.getLogger(__name__)

BY_HAND = "by-hand"
ENDED: frozenset[TrainerPhase] = frozenset({"completed", "stopped", "released", "yielded", "failed"})


@dataclass(frozen=True)
class Order:
    """What was asked for on the command line: the run of a slot's assignment, or one by hand.

    `recipe` makes the run's spec if there is none; `fresh` begins at step 0 when every checkpoint is damaged.
    """

    slot: str | None
    run: str | None
    recipe: Path | None
    fresh: bool


@dataclass(frozen=True)
class Parts:
    """What is not the trainer's own business: where pictures come from, what computes, and what it computes on.

    `devices` are those that TensorFlow sees, `gpus` those that the machine's driver tells of, which may be more.
    `evaluate` judges a run of a volume in this process's place, and returns the exit status if it returns at all.
    """

    open_dataset: DatasetOpener
    build_engine: EngineBuilder
    devices: Callable[[], tuple[Device, ...]]
    evaluate: Callable[[Volume, str], int]
    gpus: Callable[[], Gpus | None] = lambda: None


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags, as argparse gives them."""
    parser = argparse.ArgumentParser(
        prog="python -m services.trainer", description="Trains the run that a slot was assigned, or one by hand."
    )
    parser.add_argument("--volume", type=Path, help="the folder that all services share (TANDEM_VOLUME)")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--slot", help="train what slots/<slot>/assignment.json says; without one, a preflight")
    which.add_argument("--run", help="train this run, by hand")
    parser.add_argument("--recipe", type=Path, help="with --run: the YAML file to make its spec from if it has none")
    parser.add_argument("--fresh", action="store_true", help="begin at step 0 although every checkpoint is damaged")
    given = parser.parse_args(arguments)
    if given.recipe and not given.run:
        parser.error("--recipe goes with --run")
    return given


class Command:
    """Carries out one order.

    Args:
        settings: The trainer's.
        parts: Data sets, engine, devices.
        stop: Set by signals.
        clocks: Time.
    """

    def __init__(self, *, settings: TrainerSettings, parts: Parts, stop: StopEvent, clocks: Clocks) -> None:
        self._settings = settings
        self._parts = parts
        self._stop = stop
        self._clocks = clocks
        self._volume = Volume(settings.volume)
        self._host = socket.gethostname()

    def carry_out(self, order: Order) -> int:
        """Trains, or looks at the slot if there is nothing to train. Returns the exit status.

        Raises:
            TandemError: The order cannot be begun; nothing of the run has been touched.
        """
        if order.run is not None:
            folder = self._volume.run(order.run)
            if order.recipe is not None:
                create_spec(folder, recipe=order.recipe)
            return self._train(folder, slot=BY_HAND, fence=None, fresh=order.fresh)
        slot = order.slot or ""
        assignment = read_record_or_none(self._volume.slot(slot).assignment, Assignment)
        if assignment is None:
            self._preflight(f"Slot {slot} has no assignment", slot)
            return 0
        folder = self._volume.run(assignment.run)
        if (ended := _carried_out(folder, assignment)) is not None:
            self._preflight(f"What slot {slot} was assigned has been done: run {folder.id} was {ended} there", slot)
            return 0
        if assignment.task == "evaluate":
            return self._parts.evaluate(self._volume, folder.id)
        return self._train(folder, slot=slot, fence=assignment.fence, fresh=order.fresh)

    def _preflight(self, why: str, slot: str) -> None:
        record = self._record_slot(slot)
        names = ", ".join(device.name for device in record.devices)
        log.info("%s. It has %s", why, names or "no devices")

    def _record_slot(self, slot: str) -> SlotRecord:
        gpus = self._parts.gpus()
        driver = {} if gpus is None else {"nvidia_driver": gpus.driver_version()}
        return record_slot(
            volume=self._volume,
            slot=slot,
            devices=self._parts.devices,
            wanted=self._settings.trainer_device,
            host=self._host,
            versions={"tandem": observe.version(), **driver},
            time=self._clocks.time,
        )

    def _train(self, folder: RunFolder, *, slot: str, fence: int | None, fresh: bool) -> int:
        if not folder.spec.exists():
            raise NotFoundError(
                "there is no such run", where=str(folder.spec), hint="--recipe makes one, or name another"
            )
        atomic.probe_writable(folder.trainer)
        tenure = Tenure(
            folder=folder,
            fence=fence,
            identity=Identity(slot=slot, pid=os.getpid(), host=self._host),
            clock=self._clocks.monotonic,
            wait=self._stop.wait,
            time=self._clocks.time,
        )
        tenure.acquire(takeover_seconds=self._settings.trainer_takeover_seconds)
        handler = logs.also_to(folder.trainer_log, service="trainer")
        try:
            return self._train_as_holder(folder, slot=slot, tenure=tenure, fresh=fresh)
        finally:
            logging.getLogger().removeHandler(handler)
            handler.close()
            tenure.release()

    def _train_as_holder(self, folder: RunFolder, *, slot: str, tenure: Tenure, fresh: bool) -> int:
        registry = CollectorRegistry()
        observe.add_build_info(registry, service="trainer")
        observe.add_process(registry)
        gpus = self._parts.gpus()
        if gpus is not None:
            registry.register(gpus)
        metrics = TrainerMetrics(registry=registry, run=folder.id)
        journal = Journal(folder.trainer_events, on_loss=metrics.lost_lines.inc)
        events = Events(journal=journal, time=self._clocks.time)
        heartbeat = self._heartbeat(folder, slot=slot, tenure=tenure, metrics=metrics)
        stop_serving = self._serve(registry)
        heartbeat.start()
        try:
            events.record("started", f"Slot {slot} trains run {folder.id}", fence=tenure.fence, pid=os.getpid())
            spec = read_spec(folder)
            heartbeat.tell(steps=spec.steps)
            session = Session(
                volume=self._volume,
                folder=folder,
                spec=spec,
                tenure=tenure,
                heartbeat=heartbeat,
                events=events,
                metrics=metrics,
                stop=self._stop,
                settings=self._settings,
                open_dataset=self._parts.open_dataset,
                build_engine=lambda spec, dataset: self._build_engine(spec, dataset, slot=slot),
                fresh=fresh,
                clocks=self._clocks,
            )
            phase = session.run()
            events.record("finished", f"The run is {phase}", phase=phase)
            heartbeat.tell(phase=phase)
        except FencedError as error:
            # The status is the successor's now: this one only says on its own log that it goes.
            log.error("%s", error)
            return 1
        except Exception as error:
            return self._fail(error, heartbeat=heartbeat, events=events)
        else:
            return 0
        finally:
            heartbeat.close()
            journal.close()
            stop_serving()

    def _build_engine(self, spec: RunSpec, dataset: Dataset, *, slot: str) -> Engine:
        engine = self._parts.build_engine(spec, dataset)
        if slot != BY_HAND:  # what it computes on is known now, and people want to see it
            try:
                self._record_slot(slot)
            except (OSError, VolumeError) as error:
                log.warning("The slot's devices cannot be written down: %s", error)
        return engine

    def _fail(self, error: Exception, *, heartbeat: Heartbeat, events: Events) -> int:
        if isinstance(error, TandemError):
            failure = error.as_json()
        elif ran_out_of_memory(error):
            log.error("The trainer ran out of memory", exc_info=error)
            failure = {
                "code": "out_of_memory",
                "message": "it needs more memory than there is",
                "where": None,
                "hint": "A smaller batch_size needs less",
            }
        else:
            log.error("The trainer broke down", exc_info=error)
            failure = {"code": "internal", "message": f"{type(error).__name__}: {error}", "where": None, "hint": None}
        kind = "diverged" if isinstance(error, DivergedError) else "failed"
        events.record(kind, f"The run failed: {error}", level=logging.ERROR, failure=failure)
        heartbeat.tell(phase="failed", failure=failure)
        return exit_status(error)

    def _heartbeat(self, folder: RunFolder, *, slot: str, tenure: Tenure, metrics: TrainerMetrics) -> Heartbeat:
        now = self._clocks.time()
        phase: TrainerPhase = "starting"
        return Heartbeat(
            path=folder.status,
            status=TrainerStatus(
                run=folder.id,
                slot=slot,
                phase=phase,
                step=0,
                steps=1,  # until the spec has been read
                beat=0,
                time=now,
                started=now,
                fence=tenure.fence,
                generation_seen=0,
                pid=os.getpid(),
                host=self._host,
                versions={"tandem": observe.version()},
            ),
            guard=tenure.check,
            interval=self._settings.trainer_heartbeat_seconds,
            time=self._clocks.time,
            on_loss=metrics.lost_lines.inc,
        )

    def _serve(self, registry: CollectorRegistry) -> Callable[[], None]:
        port = self._settings.trainer_metrics_port
        if port is None:
            return lambda: None
        host = self._settings.trainer_metrics_host
        try:
            bound, stop = observe.serve_metrics(registry, host=host, port=port)
        except OSError as error:
            raise SettingsError(
                f"/metrics cannot be served at {host}:{port}: {error.strerror}", where="TANDEM_TRAINER_METRICS_PORT"
            ) from error
        log.info("Metrics at http://%s:%d/metrics", host, bound)
        return stop


def _carried_out(folder: RunFolder, assignment: Assignment) -> TrainerPhase | None:
    """How a trainer under this very assignment has ended, by its own last word; None if none has.

    Whoever wants the run to go on gives it a new number. Under the old one, others start a slot: Compose, at `up`.
    """
    if assignment.task != "train":
        return None
    with contextlib.suppress(VolumeError):  # a trainer that has the run writes it anew
        status = read_record_or_none(folder.status, TrainerStatus)
        if status is not None and status.fence == assignment.fence and status.phase in ENDED:
            return status.phase
    return None


def create_spec(folder: RunFolder, *, recipe: Path) -> RunSpec:
    """Makes a run of a recipe, unless it is there already.

    Raises:
        SpecError: The recipe is not one, or the run is there with another specification.
        NotWritableError: The volume cannot be written to.
    """
    spec = parse_spec(load_recipe(recipe), source=str(recipe))
    atomic.probe_writable(folder.root)
    if not atomic.create_file(folder.spec, encode_record(spec)):
        found = differences(read_spec(folder).model_dump(mode="json"), spec.model_dump(mode="json"))
        if found:
            raise SpecError(
                f"run {folder.id} is there already with another specification: {'; '.join(found)}",
                where=str(folder.spec),
                hint="Leave out --recipe to train it as it is, or name another run",
            )
    return spec


def ran_out_of_memory(error: Exception) -> bool:
    """Whether there was not enough memory: of the machine, or of a device, of which TensorFlow's own error speaks."""
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"


def exit_status(error: Exception) -> int:
    """2 for what was handed in wrongly, 1 for everything else."""
    return 2 if isinstance(error, InputError | NotFoundError | DatasetMissingError | DatasetCorruptError) else 1
