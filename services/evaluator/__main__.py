"""`python -m services.evaluator --volume V`: judges what trainers commit. Everything is wired here.

Exit codes: 0 after a stop, or after `--once` when nothing is left; 1 when `--once` left something; 2 for bad settings,
a volume that cannot be written to, or a GPU that is seen and should not be, or is not and should.
"""

import argparse
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.evaluator.assessor import Assessor
from services.evaluator.claims import Claims
from services.evaluator.closing import Closing
from services.evaluator.devices import EvaluationDevice
from services.evaluator.events import EventLog
from services.evaluator.heartbeat import Heartbeat
from services.evaluator.ledger import Ledger
from services.evaluator.loop import EvaluationLoop
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.policy import Policy
from services.evaluator.presence import Presence, take_name
from services.evaluator.retries import Retries, Suspicions
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.standings import Standings
from services.evaluator.tensorboard import TensorBoardCurves
from services.evaluator.verdicts import VerdictWriter
from services.evaluator.watch import watch_volume
from shared import atomic, logs
from shared.errors import NotWritableError, SettingsError, TandemError, VolumeError
from shared.layout import RunFolder, Volume
from shared.leases import LeaseWatch
from shared.lifecycle import StopEvent
from shared.observe import add_build_info, add_process, serve_metrics
from shared.onnx_runtime import onnxruntime
from shared.records import CheckpointManifest
from shared.settings import load_settings

_LOG = logging.getLogger("tandem.evaluator")

STATUS_SECONDS = 2.0
# Work that does not look at the stop event (a conversion, an import) is left in the middle after so many seconds.
GRACE_SECONDS = 3.5


def main(arguments: Sequence[str] | None = None, *, gpus: Callable[[], Sequence[str]] | None = None) -> int:
    """Runs the evaluator; returns the exit code.

    Args:
        arguments: Of the command line; those of the process if None.
        gpus: Names the GPUs that can be seen; TensorFlow is asked if None.
    """
    flags = _flags(arguments)
    try:
        settings = load_settings(
            EvaluatorSettings,
            volume=flags.volume,
            evaluator_name=flags.name,
            evaluator_policy=flags.policy,
            evaluator_device=flags.device,
        )
        logs.configure(service="evaluator", level=settings.log_level)
        logging.getLogger("tf2onnx").setLevel(logging.WARNING)
        stop = StopEvent()
        stop.install()
        return _evaluate(settings, stop, only=flags.run, once=flags.once, gpus=gpus)
    except (SettingsError, NotWritableError) as error:
        sys.stderr.write(f"evaluator: {error}\n")
        return 2
    except TandemError as error:
        sys.stderr.write(f"evaluator: {error}\n")
        return 1


def _evaluate(
    settings: EvaluatorSettings,
    stop: StopEvent,
    *,
    only: str | None,
    once: bool,
    gpus: Callable[[], Sequence[str]] | None,
) -> int:
    volume = Volume(settings.volume)
    folder = None if only is None else volume.run(only)
    atomic.probe_writable(volume.root)
    name = take_name(volume, settings.evaluator_name)
    logs.also_to(volume.evaluator(name) / "log.jsonl", service="evaluator")
    claims = Claims(owner=name, clock=time.monotonic, wall=time.time, expiry=settings.evaluator_lease_seconds)
    with leaving_in_time(stop, claims.release_all):
        os.nice(settings.evaluator_nice)
        device = EvaluationDevice.parse(settings.evaluator_device)
        device.prepare(os.environ, threads=settings.evaluator_threads)
        device.check(gpus or _visible_gpus)
        # Imported only now: TensorFlow reads the environment when it is imported.
        import tensorflow  # noqa: PLC0415

        from services.evaluator.export import OnnxExporter  # noqa: PLC0415
        from services.evaluator.judge import EvaluationCache, TensorFlowJudge  # noqa: PLC0415

        cache = EvaluationCache(
            volume=volume,
            cache_bytes=settings.evaluator_cache_megabytes * 2**20,
            own_modules=settings.model_modules,
        )
        versions = {"tensorflow": tensorflow.__version__, "onnxruntime": onnxruntime.__version__}
        registry = CollectorRegistry()
        add_build_info(registry, service="evaluator", **versions)
        add_process(registry)
        metrics = EvaluatorMetrics(registry)
        events = EventLog(wall=time.time)
        curves = TensorBoardCurves(on_problem=metrics.problem)
        verdicts = VerdictWriter(evaluator=name, wall=time.time)
        presence = Presence(path=volume.evaluator(name) / "status.json", name=name, versions=versions, wall=time.time)
        started = time.time()

        def on_open(manifest: CheckpointManifest) -> None:
            # What lay there already says nothing about how fast a commit is noticed.
            if manifest.time >= started:
                metrics.started(time.time() - manifest.time)

        def on_problem(folder: RunFolder, error: VolumeError) -> None:
            metrics.problem(error.code)
            events.add(folder, error.code, str(error))

        watch = watch_volume(volume, stopping=stop.is_set, sleep=stop.wait)
        loop = EvaluationLoop(
            ledger=Ledger(
                volume=volume,
                policy=Policy.parse(settings.evaluator_policy),
                clock=time.monotonic,
                on_problem=on_problem,
                only=only,
            ),
            watch=watch,
            claims=claims,
            assessor=Assessor(
                judge=TensorFlowJudge(cache=cache, recalibration_examples=settings.evaluator_recalibration_examples),
                exporter=OnnxExporter(cache=cache, keep=settings.evaluator_exports, threads=settings.evaluator_threads),
                verdicts=verdicts,
                standings=Standings(keep=settings.evaluator_answers),
                curves=curves,
                events=events,
                metrics=metrics,
                on_open=on_open,
            ),
            verdicts=verdicts,
            closing=Closing(
                leases=LeaseWatch(clock=time.monotonic, expiry=settings.evaluator_lease_seconds), events=events
            ),
            events=events,
            metrics=metrics,
            presence=presence,
            retries=Retries(clock=time.monotonic),
            suspicions=Suspicions(clock=time.monotonic, patience=settings.evaluator_patience_seconds),
            stopping=stop.is_set,
            wall=time.time,
            poll_seconds=settings.evaluator_poll_seconds,
            beat_seconds=settings.evaluator_lease_seconds / 6,
        )
        with (
            _serving(settings, registry),
            contextlib.closing(watch),
            Heartbeat(presence.beat, seconds=STATUS_SECONDS, name="status"),
        ):
            presence.beat()
            curves.catch_up(volume)
            _LOG.info("%s judges what is committed on %s", name, volume.root)
            if once:
                began = time.monotonic()
                done = loop.run_once()
                if folder is not None:
                    tell_turn(events, folder, seconds=time.monotonic() - began, done=done)
                return 0 if done or stop.is_set() else 1
            loop.run()
    return 0


def tell_turn(events: EventLog, folder: RunFolder, *, seconds: float, done: bool) -> None:
    """Writes down that one run's checkpoints were looked through, and how long that took."""
    text = f"{'Judged all that was due' if done else 'Left something unjudged'} after {seconds:.1f} s"
    events.add(folder, "turn", text, level=logging.INFO, seconds=round(seconds, 3), done=done)


def _visible_gpus() -> Sequence[str]:
    from services.evaluator.judge import visible_gpus  # noqa: PLC0415

    return visible_gpus()


@contextlib.contextmanager
def _serving(settings: EvaluatorSettings, registry: CollectorRegistry) -> Iterator[None]:
    if settings.evaluator_metrics_port is None:
        yield
        return
    try:
        port, close = serve_metrics(
            registry, host=settings.evaluator_metrics_host, port=settings.evaluator_metrics_port
        )
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {settings.evaluator_metrics_host}: {error}", where="TANDEM_EVALUATOR_METRICS_PORT"
        ) from error
    _LOG.info("metrics: http://%s:%d/metrics", settings.evaluator_metrics_host, port)
    try:
        yield
    finally:
        close()


@contextlib.contextmanager
def leaving_in_time(
    stop: StopEvent, release: Callable[[], None], *, grace_seconds: float = GRACE_SECONDS
) -> Iterator[None]:
    """Ends the process in good time after a stop is asked for, even in the middle of what cannot be interrupted.

    Args:
        stop: Set when a stop is asked for.
        release: Called before the process is ended in the middle of the block.
        grace_seconds: What the block has left after the stop to end by itself.
    """
    done = threading.Event()

    def wait() -> None:
        while not stop.wait(3600):
            pass
        if not done.wait(grace_seconds):
            _LOG.info("stopped in the middle of an evaluation, which will be done again")
            release()
            os._exit(0)

    threading.Thread(target=wait, name="leaving", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.evaluator", description="Judges what trainers commit.")
    parser.add_argument("--volume", type=Path, help="the folder that all services share")
    parser.add_argument("--name", help="this evaluator's name; by default the first free one")
    parser.add_argument("--policy", help="newest-first, all, latest, or every:<steps>")
    parser.add_argument("--device", help="what to judge on: cpu (the default), gpu:<number>, or any")
    parser.add_argument("--run", help="judge this run alone, also if it alternates")
    parser.add_argument("--once", action="store_true", help="judge all that is due, then exit")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing is left to save, and taking TensorFlow down in order takes seconds on a busy machine.
    os._exit(status)
