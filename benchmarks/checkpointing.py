"""What checkpoints cost the training: `python -m benchmarks.checkpointing`.

The tutorial's network is trained in stretches of equal length, in turns without a checkpoint and with one in the
middle, through the trainer's own loop and saver. Printed for each pair: both times, how long the loop stood still for
the checkpoint, and how long the thread took to write it; then what that is of the time between two checkpoints at the
tutorial's cadence. The stall is what training surely loses; where the writing thread takes processors from the step,
the difference of the times shows it, within the noise of the machine.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from benchmarks import engines
from benchmarks.report import Report, add_output
from services.trainer.batches import PrefetchedBatches
from services.trainer.committer import Committer
from services.trainer.engine import Engine
from services.trainer.journal import Events, Journal
from services.trainer.loop import EverySteps, Loop, Scheduled
from services.trainer.metrics import TrainerMetrics
from services.trainer.sample_order import SampleOrder
from services.trainer.saver import Saver
from shared.checkpoints import CheckpointStore
from shared.data.catalog import open_dataset
from shared.devices import prepare_tensorflow
from shared.layout import RunFolder, Volume
from shared.leases import LeaseWatch
from shared.retention import Pruner
from shared.spec import RunSpec, parse_spec


@dataclass
class Timed:
    """The newest checkpoint: when it began, and seconds that the loop stood still and until it was committed."""

    began: float = 0.0
    stall: float = 0.0
    whole: float = 0.0


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60, help="of a stretch")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--volume", type=Path, help="where checkpoints are written; a temporary folder without it")
    add_output(parser)
    given = parser.parse_args()
    prepare_tensorflow(os.environ, device="auto")
    with tempfile.TemporaryDirectory(dir=given.volume) as folder, Report("checkpointing", given.output) as report:
        _measure(Volume(Path(folder)), report, pairs=given.pairs, steps=given.steps, batch_size=given.batch_size)


def _measure(volume: Volume, report: Report, *, pairs: int, steps: int, batch_size: int) -> None:
    spec = parse_spec(
        {"batch_size": batch_size, "dataset": {"kind": "shapes", "train_examples": 4000}}, source="benchmark"
    )
    dataset = open_dataset(spec.dataset, volume=volume)
    engine = engines.build(spec, dataset)
    source = PrefetchedBatches(
        examples=dataset.train,
        order=SampleOrder(seed=0, examples=len(dataset.train)),
        batch_size=batch_size,
        ahead=64,
    )
    timed = Timed()
    saver = _saver(engine, spec, volume.run("benchmark"), timed)

    def stretch(*, save: bool) -> float:
        def at_middle(step: int, now: float) -> None:
            if save and step % steps == steps // 2:
                timed.began = time.perf_counter()
                saver.save(step, now)
                timed.stall = time.perf_counter() - timed.began

        loop = Loop(
            engine=engine,
            source=source,
            schedule=[
                Scheduled(EverySteps(10), lambda step, now: _look(engine)),
                Scheduled(EverySteps(steps // 2), at_middle),
            ],
            clock=time.monotonic,
            most_steps=32,
            seconds_per_call=0.1,
        )
        began = time.perf_counter()
        loop.run(until=engine.step + steps, interrupted=lambda: False)
        engine.losses()
        return time.perf_counter() - began

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors; {engine.numerics}")
    print(f"batch {batch_size}, stretches of {steps} steps; load {os.getloadavg()[0]:.1f}")
    stretch(save=False)  # compiles
    stretch(save=True)
    saver.finish(0, within=0)
    stalls, writes, ratios, per_step = [], [], [], []
    for pair in range(pairs):
        without = stretch(save=False)
        with_one = stretch(save=True)
        saver.finish(0, within=0)
        stalls.append(timed.stall)
        writes.append(timed.whole)
        ratios.append(with_one / without)
        per_step.append(without / steps)
        print(
            f"pair {pair + 1}: without {without:7.3f} s, with one checkpoint {with_one:7.3f} s, ratio {ratios[-1]:.3f},"
            f" stall {timed.stall * 1e3:6.2f} ms, written in {timed.whole * 1e3:6.1f} ms"
        )
    saver.close()
    between = spec.cadence.checkpoint_steps * statistics.median(per_step)
    print(
        f"median: stall {statistics.median(stalls) * 1e3:.2f} ms, written in {statistics.median(writes) * 1e3:.1f} ms,"
        f" ratio {statistics.median(ratios):.3f}, {1 / statistics.median(per_step):.1f} steps/s"
    )
    print(
        f"of the {between:.0f} s between two checkpoints ({spec.cadence.checkpoint_steps} steps):"
        f" stall {statistics.median(stalls) / between:.4%}, until written {statistics.median(writes) / between:.4%}"
    )
    report.add("the loop stands still for a checkpoint", statistics.median(stalls) * 1e3, "ms", at_most=10)
    report.add("a durable commit, from its beginning", statistics.median(writes) * 1e3, "ms", at_most=40)
    share = 100 * statistics.median(stalls) / between
    report.add(f"of the time, with one every {spec.cadence.checkpoint_steps} steps", share, "%", at_most=1)


def _look(engine: Engine) -> None:
    engine.losses()


def _saver(engine: Engine, spec: RunSpec, folder: RunFolder, timed: Timed) -> Saver:
    metrics = TrainerMetrics(registry=CollectorRegistry(), run=folder.id)
    events = Events(journal=Journal(folder.trainer_events, on_loss=metrics.lost_lines.inc), time=time.time)
    store = CheckpointStore(folder)

    def done(_step: int) -> None:
        timed.whole = time.perf_counter() - timed.began

    return Saver(
        source=engine,
        committer=Committer(
            store=store,
            pruner=Pruner(
                folder=folder,
                store=store,
                spec=spec,
                final=lambda: spec.steps,
                leases=LeaseWatch(clock=time.monotonic, expiry=60),
                on_remove=lambda step: None,
            ),
            spec=spec,
            fence=1,
            dataset_fingerprint="",
            numerics=engine.numerics,
            guard=lambda: None,
            events=events,
            metrics=metrics,
            clock=time.monotonic,
            time=time.time,
        ),
        committed=None,
        patience=2.0,
        check=lambda step, losses: None,
        on_commit=done,
        events=events,
        metrics=metrics,
        clock=time.monotonic,
        wait=time.sleep,
    )


if __name__ == "__main__":
    main()
