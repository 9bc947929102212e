"""A trainer that keeps the volume's protocol and computes nothing: `fake_trainer.py VOLUME SLOT`.

Labels of the spec say how it behaves: `pace` (seconds a step), `crash_at` (exits with 1 at that step, each time),
`crash_once_at` (the first time alone), `deaf` (hears neither desired.json nor SIGTERM), `gate` (waits at that step
until there is a file `gate` in the run's folder).
"""

import fcntl
import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np

from shared.checkpoints import CheckpointStore, read_spec, spec_digest
from shared.layout import RunFolder, Volume
from shared.lifecycle import StopEvent
from shared.records import (
    Assignment,
    Desired,
    Event,
    Fence,
    LineWriter,
    SeriesPoint,
    TrainerPhase,
    TrainerStatus,
    read_record,
    read_record_or_none,
    write_record,
)


class FakeTrainer:
    def __init__(self, *, folder: RunFolder, slot: str, fence: int, stop: StopEvent) -> None:
        self.folder = folder
        self.slot = slot
        self.fence = fence
        self.stop = stop
        self.spec = read_spec(folder)
        self.store = CheckpointStore(folder)
        self.beat = 0
        self.generation = 0
        self.phase: TrainerPhase | None = None
        self.step = max(self.store.steps(), default=0)

    def run(self) -> int:
        labels = self.spec.labels
        series = LineWriter(self.folder.series)
        self.tell("started")
        self.say("starting")
        while self.step < self.spec.steps:
            phase = None if "deaf" in labels else self.asked()
            if phase == "holding":
                if self.phase != "holding":
                    self.commit()
                    self.say("holding")
                time.sleep(0.01)
                continue
            if phase is not None:
                return self.end(phase)
            if self.step == int(labels.get("gate", "-1")) and not (self.folder.root / "gate").exists():
                time.sleep(0.01)
                continue
            time.sleep(float(labels.get("pace", "0.01")))
            self.step += 1
            if self.step == int(labels.get("crash_at", "-1")) or self.crashes_once():
                sys.stdout.write(f"crashing at step {self.step}" + "\n")
                return 1
            if self.step % self.spec.cadence.log_steps == 0:
                series.append(self.point())
                self.say("running")
            if self.step % self.spec.cadence.checkpoint_steps == 0:
                self.commit()
        return self.end("completed")

    def end(self, phase: TrainerPhase) -> int:
        self.commit()
        self.tell("finished", phase=phase)
        self.say(phase)
        return 0

    def asked(self) -> TrainerPhase | None:
        desired = read_record_or_none(self.folder.desired, Desired)
        if desired is not None:
            self.generation = desired.generation
            if desired.state == "stopped":
                return "stopped"
            if desired.state == "paused":
                return "holding" if desired.pause == "hold" and not self.stop.is_set() else "released"
        return "released" if self.stop.is_set() else None

    def tell(self, kind: str, **details: str) -> None:
        events = LineWriter(self.folder.trainer_events)
        told = {"fence": self.fence, "pid": os.getpid(), **details}
        events.append(Event(time=time.time(), service="trainer", kind=kind, message=kind, step=self.step, details=told))
        events.close()

    def crashes_once(self) -> bool:
        mark = self.folder.trainer / "crashed"
        if self.step != int(self.spec.labels.get("crash_once_at", "-1")) or mark.exists():
            return False
        mark.touch()
        return True

    def commit(self) -> None:
        if self.step in self.store.steps():
            return
        arrays = {"weight": np.full(3, self.step, np.float32)}
        self.store.commit(
            step=self.step,
            fence=self.fence,
            spec_sha256=spec_digest(self.spec),
            groups={"raw": arrays, self.spec.primary_ema: arrays, "optimizer": {}},
            time=time.time(),
        )

    def point(self) -> SeriesPoint:
        loss = 1.0 / self.step
        return SeriesPoint(
            step=self.step,
            time=time.time(),
            loss=loss,
            cross_entropy=loss,
            average_loss=loss,
            learning_rate=0.1,
            examples_per_second=100.0,
        )

    def say(self, phase: TrainerPhase) -> None:
        self.beat += 1
        self.phase = phase
        status = TrainerStatus(
            run=self.folder.id,
            slot=self.slot,
            phase=phase,
            step=self.step,
            steps=self.spec.steps,
            checkpoint_step=max(self.store.steps(), default=None),
            beat=self.beat,
            time=time.time(),
            started=time.time(),
            fence=self.fence,
            generation_seen=self.generation,
            pid=os.getpid(),
            host=socket.gethostname(),
            versions={},
        )
        write_record(self.folder.status, status)


def main(root: str, slot: str) -> int:
    volume = Volume(Path(root))
    assignment = read_record(volume.slot(slot).assignment, Assignment)
    folder = volume.run(assignment.run)
    stop = StopEvent()
    stop.install()
    if "deaf" in read_spec(folder).labels:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    folder.trainer.mkdir(exist_ok=True)
    with folder.lock.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stdout.write("TWICE: another trainer works on this run" + "\n")
            return 1
        identity = {"token": "t", "slot": slot, "pid": os.getpid(), "host": "here", "time": time.time()}
        write_record(folder.fence, Fence(fence=assignment.fence, **identity))
        return FakeTrainer(folder=folder, slot=slot, fence=assignment.fence, stop=stop).run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
