"""`python -m services.gateway`: reads settings, wires the parts together, and runs until it is asked to stop."""

import argparse
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.gateway import server
from services.gateway.access.audit import Audit
from services.gateway.access.keyring import Keyring
from services.gateway.access.rates import Rates
from services.gateway.app import create_app
from services.gateway.arrival import trainable_later
from services.gateway.encoded import EncodedViews
from services.gateway.follower import Follower, FollowerLoop
from services.gateway.index import Index
from services.gateway.index.shelf import Shelf
from services.gateway.launchers.base import Launcher
from services.gateway.launchers.docker import DockerLauncher, EngineHints
from services.gateway.launchers.engine import Engine, connect
from services.gateway.launchers.process import ProcessLauncher
from services.gateway.leftovers import remove_leftovers
from services.gateway.lock import VolumeLock
from services.gateway.metrics import add_volume_metrics
from services.gateway.parts import Parts
from services.gateway.pictures import Pictures
from services.gateway.predict.wiring import Predicting
from services.gateway.series import SeriesReader
from services.gateway.settings import GatewaySettings
from services.gateway.shelving import Shelver, maker
from services.gateway.steering.control import RunControl
from services.gateway.steering.journal import Journal
from services.gateway.steering.metrics import RunMetrics
from services.gateway.steering.parts import SteeringParts
from services.gateway.steering.reconcile import Reconciler
from services.gateway.steering.reconcile_loop import ReconcileLoop
from services.gateway.steering.settling import Settler
from services.gateway.steering.situations import Situations
from services.gateway.steering.slots import Slots
from services.gateway.steering.starting import RunStarter
from services.gateway.streams.feed import Feed
from services.gateway.streams.streams import Streams
from services.gateway.web.wiring import make_router as page_router
from services.gateway.webhooks.configuration import WebhooksFile
from services.gateway.webhooks.metrics import WebhookMetrics
from services.gateway.webhooks.positions import Positions
from services.gateway.webhooks.post import post
from services.gateway.webhooks.webhooks import Webhooks
from shared import atomic, logs, observe
from shared.data import catalog
from shared.errors import ConflictError, DatasetMissingError, SettingsError, TandemError, VolumeError
from shared.layout import Volume
from shared.lifecycle import StopEvent
from shared.settings import load_settings
from shared.spec import DatasetSpec


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the gateway.

    Returns:
        0 after an orderly stop; 2 when what was handed in is wrong, or the volume or the port cannot be had.
    """
    flags = _parser().parse_args(arguments)
    try:
        settings = load_settings(GatewaySettings, **vars(flags))
        return _run(settings)
    except (SettingsError, VolumeError, ConflictError) as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.gateway", description="Starts and stops runs, shows them, and answers predictions."
    )
    parser.add_argument("--volume", type=Path, help="the folder that all services share (TANDEM_VOLUME)")
    parser.add_argument("--gateway-host", "--host", help="the address to listen at (TANDEM_GATEWAY_HOST)")
    parser.add_argument("--gateway-port", "--port", help="the port to listen at (TANDEM_GATEWAY_PORT)")
    parser.add_argument("--gateway-slots", "--slots", help="how many trainers may work at once (TANDEM_GATEWAY_SLOTS)")
    parser.add_argument(
        "--gateway-stop-slots-on-exit",
        "--stop-slots-on-exit",
        action="store_true",
        default=None,
        help="at the end have trainers release their slots (TANDEM_GATEWAY_STOP_SLOTS_ON_EXIT)",
    )
    return parser


def _run(settings: GatewaySettings) -> int:
    logs.configure(service="gateway", level=settings.log_level)
    stop = StopEvent()
    stop.install()
    volume = Volume(settings.volume.absolute())
    atomic.probe_writable(volume.gateway)
    keyring = _keyring(settings)
    lock = VolumeLock(volume=volume, holder={"pid": os.getpid(), "host": socket.gethostname()})
    lock.take()
    listener = server.bind(settings.gateway_host, settings.gateway_port, loopback_only=not keyring.asks)
    url = server.address(listener)
    lock.tell(address=url)
    log_file = logs.also_to(volume.gateway / "log.jsonl", service="gateway")
    try:
        _steer_and_serve(settings, volume=volume, keyring=keyring, stop=stop, listener=listener, url=url)
    finally:
        log_file.close()
        lock.release()
    return 0


def _steer_and_serve(
    settings: GatewaySettings, *, volume: Volume, keyring: Keyring, stop: StopEvent, listener: socket.socket, url: str
) -> None:
    remove_leftovers(volume)
    registry = CollectorRegistry()
    observe.add_build_info(registry, service="gateway")
    observe.add_process(registry)
    add_volume_metrics(registry, volume=volume.root)
    metrics = RunMetrics(registry)
    launcher = _launcher(settings, volume=volume)
    woken = threading.Event()
    if settings.gateway_launcher == "docker":
        EngineHints(engine=_engine(settings), wake=woken.set, stop=stop, pause=1.0).start()
    steering = _steering(settings, volume=volume, launcher=launcher, wake=woken.set)
    index, journal = steering.index, steering.journal
    control = RunControl(parts=steering)
    starter = RunStarter(
        parts=steering,
        volume=volume,
        recipes_folder=settings.gateway_recipes,
        check_dataset=lambda spec: check_dataset(spec, volume=volume),
        price_per_hour=settings.gateway_price_per_hour,
    )
    reconciler = Reconciler(
        parts=steering,
        volume=volume,
        control=control,
        settler=Settler(
            index=index,
            journal=journal,
            clock=time.monotonic,
            time=time.time,
            attempts=settings.gateway_attempts,
            backoff=settings.gateway_backoff_seconds,
            longest_backoff=settings.gateway_longest_backoff_seconds,
        ),
        launcher=launcher,
        metrics=metrics,
        clock=time.monotonic,
        stop_grace=settings.gateway_stop_grace_seconds,
        arriving=lambda folder: trainable_later(folder, now=time.time()),
        shelve=Shelver(parts=steering).step,
    )
    loop = ReconcileLoop(
        reconciler=reconciler,
        stop=stop,
        woken=woken,
        clock=time.monotonic,
        poll=settings.gateway_poll_seconds,
        failures=metrics.failures.inc,
    )
    hooks_file = WebhooksFile(settings.gateway_webhooks)
    hooks = hooks_file.read()
    positions = Positions(folder=volume.gateway / "webhooks")
    feed = Feed(folder=volume.gateway / "feed", needed=positions.least)
    webhooks = Webhooks(
        file=hooks_file,
        feed=feed,
        positions=positions,
        post=post,
        metrics=WebhookMetrics(registry),
        time=time.time,
    )
    follower = FollowerLoop(
        follower=Follower(index=index, journal=journal, feed=feed, clock=time.time),
        ready=lambda: loop.why_not_ready() is None,
        stop=stop,
        poll=settings.gateway_poll_seconds,
        after=webhooks.wake,
    )
    views = EncodedViews()
    streams = Streams(
        volume=volume,
        runs=steering.runs,
        views=views,
        feed=feed,
        poll=settings.gateway_poll_seconds,
        most=settings.gateway_streams,
    )
    predicting = Predicting(settings=settings, volume=volume, registry=registry, tell=journal.note)
    parts = Parts(
        runs=steering.runs,
        starter=starter,
        control=control,
        slots=steering.slots,
        predictor=predicting.predictor,
        streams=streams,
        views=views,
        checks={"volume": starter, "reconcile": loop},
        recipes_folder=settings.gateway_recipes,
        pictures=Pictures(open_dataset=lambda spec: catalog.open_dataset(spec, volume=volume)),
    )
    app = create_app(
        parts,
        registry=registry,
        routers=[*predicting.routers(), page_router()],
        body_bytes=settings.gateway_body_bytes,
        picture_bytes=settings.predict_body_bytes,
        keyring=keyring,
        audit=Audit(path=volume.gateway / "audit.jsonl", clock=time.time),
        rates=Rates(per_second=settings.rates, clock=time.monotonic),
        local_only=not keyring.asks,
    )
    predicting.install(app)
    loop.start()
    webhooks.start(hooks)
    follower.start()
    predicting.start()
    _prepare(app, series=parts.series, volume=volume, stop=stop)
    sys.stdout.write(f"tandem gateway: {url}/docs (API), {url}/metrics, volume {volume.root}\n")
    sys.stdout.write(f"{_who_may_ask(settings, keyring)}\n")
    sys.stdout.flush()
    try:
        server.serve(app, listener, log_level=settings.log_level, on_stop=streams.hub.close)
    finally:
        predicting.stop()
        stop.set()
        loop.join()
        follower.join()
        webhooks.stop()
        if settings.gateway_stop_slots_on_exit:
            reconciler.stop_slots(sleep=time.sleep, poll=0.1)


def _steering(
    settings: GatewaySettings, *, volume: Volume, launcher: Launcher, wake: Callable[[], None]
) -> SteeringParts:
    journal = Journal(volume=volume, clock=time.time)
    slots = Slots(volume=volume, launcher=launcher, clock=time.monotonic, silence=settings.gateway_silence_seconds)
    shelf = Shelf(path=volume.gateway / "settled.jsonl", maker=maker(settings.gateway_price_per_hour))
    index = Index(volume=volume, shelf=shelf)
    runs = Situations(
        index=index, journal=journal, slots=slots, clock=time.time, price_per_hour=settings.gateway_price_per_hour
    )
    return SteeringParts(
        index=index, runs=runs, journal=journal, slots=slots, time=time.time, lock=threading.RLock(), wake=wake
    )


def _prepare(app: FastAPI, *, series: SeriesReader, volume: Volume, stop: StopEvent) -> None:
    """Does in the background what would make the first request of its kind wait."""

    def work() -> None:
        app.openapi()  # which query parameters are checked against
        series.read_ahead(volume, stopping=stop.is_set)

    threading.Thread(target=work, name="prepare", daemon=True).start()


def _keyring(settings: GatewaySettings) -> Keyring:
    keyring = Keyring(settings.gateway_keys)
    try:
        keyring.check()
    except OSError as error:
        raise SettingsError(
            f"cannot be read: {error.strerror}", where=f"TANDEM_GATEWAY_KEYS {error.filename}"
        ) from error
    except TandemError as error:
        raise SettingsError(str(error), where="TANDEM_GATEWAY_KEYS", hint=error.hint) from error
    return keyring


def _who_may_ask(settings: GatewaySettings, keyring: Keyring) -> str:
    if not keyring.asks:
        return "No key file: it listens to this machine alone and asks nobody for a key (TANDEM_GATEWAY_KEYS)"
    return f"Asks for a key of {settings.gateway_keys}, which has {keyring.check()}"


def _launcher(settings: GatewaySettings, *, volume: Volume) -> Launcher:
    if settings.gateway_launcher == "docker":
        return DockerLauncher(engine=_engine(settings), project=settings.gateway_docker_project, clock=time.monotonic)
    return ProcessLauncher(
        volume=volume,
        command=settings.trainer_command,
        count=settings.gateway_slots,
        clock=time.monotonic,
        log_bytes=settings.gateway_slot_log_bytes,
    )


def _engine(settings: GatewaySettings) -> Engine:
    url = settings.gateway_docker_url
    return Engine(connect=lambda: connect(url, timeout=settings.gateway_docker_seconds), where=url)


def check_dataset(spec: DatasetSpec, *, volume: Volume) -> None:
    """Makes sure that the files of a data set are there.

    Raises:
        DatasetMissingError: They are not; says where they were looked for, and how to put them in place.
    """
    if not catalog.at_hand(spec.kind, spec.path, volume=volume):
        place = catalog.location(spec.kind, spec.path, volume=volume)
        raise DatasetMissingError(
            f"the data set {spec.kind} is not at {place}",
            where="spec.dataset",
            hint=f"{catalog.KINDS[spec.kind].placing}, or name another folder with dataset.path",
        )


if __name__ == "__main__":
    sys.exit(main())
