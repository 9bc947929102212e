"""The evaluator without TensorFlow, for tests: a judge of tiny arrays, a clock that stands still, runs to be judged."""

import threading
import time
from collections.abc import Callable

import numpy as np
from prometheus_client import CollectorRegistry

from services.evaluator.assessor import Assessor
from services.evaluator.claims import Claims
from services.evaluator.closing import Closing
from services.evaluator.events import EventLog
from services.evaluator.figures import Tally
from services.evaluator.judging import AbandonedError, Judged
from services.evaluator.ledger import Ledger
from services.evaluator.loop import EvaluationLoop
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.policy import Policy
from services.evaluator.presence import Presence
from services.evaluator.retries import Retries, Suspicions
from services.evaluator.standings import Standings
from services.evaluator.tensorboard import TensorBoardCurves
from services.evaluator.verdicts import VerdictWriter
from services.evaluator.watch import PollingWatch
from shared.answers import Answers
from shared.checkpoints import CheckpointStore, spec_digest
from shared.leases import LeaseWatch
from shared.records import Event, read_lines, write_record
from shared.spec import EmaSpec, RunSpec
from tests.statuses import trainer_status

EMA = "ema-0.9"


class Clock:
    """A clock that moves when it is told to, and a little with each reading where asked."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now

    def move(self, seconds):
        self.now += seconds


class Wall:
    """Seconds since the epoch: one more with each reading."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


class RunMaker:
    """Makes runs and checkpoints of tiny arrays on a volume."""

    def __init__(self, volume):
        self.volume = volume
        self.spec = RunSpec(steps=100, ema=EmaSpec(decays=(0.9,)))

    def run(self, name="20260101-000000-run-0001", spec=None):
        folder = self.volume.run(name)
        write_record(folder.spec, spec or self.spec)
        return folder

    def committed(self, *steps):
        """A run with a checkpoint at each of these steps."""
        folder = self.run()
        for step in steps:
            self.commit(folder, step)
        return folder

    def commit(self, folder, step, *, groups=None, time=0.0):
        groups = groups or {"raw": {"w": np.float32([step, 1])}, EMA: {"w": np.float32([step, 2])}}
        return CheckpointStore(folder).commit(
            step=step, fence=1, spec_sha256=spec_digest(self.spec), groups=groups, time=time
        )


def write_status(folder, phase, step):
    """What the trainer of a run says of itself."""
    write_record(folder.status, trainer_status(folder.id, phase=phase, step=step, checkpoint_step=step))


class ArrayJudge:
    """Judges the tiny arrays: the weight `w[1]` is the answer to each of ten examples. Keeps what it was asked."""

    def __init__(self):
        self.asked = []
        self.before: Callable[[str], None] = lambda source: None

    def judge(self, spec, weights, *, source, wanted, averaged=False):
        self.asked.append(source)
        self.before(source)
        if not wanted():
            raise AbandonedError
        value = float(weights["w"][1])
        logits = np.zeros((10, 2), np.float32)
        logits[:, 1] = value
        tally = Tally(classes=("a", "b"), top_k=spec.evaluation.top_k)
        tally.add(logits, np.ones(10, np.int32))
        return Judged(
            figures=tally.figures(),
            answers=Answers(*tally.answers(), dataset_fingerprint="d5"),
            seconds=0.1,
            images=np.zeros((10, 1, 1, 3), np.uint8),
            logits=logits,
            classes=("a", "b"),
        )


class PatientJudge(ArrayJudge):
    """Judges what the trainer of NumPy makes, and takes so many seconds for each kind of weights."""

    def __init__(self, seconds):
        super().__init__()
        self._seconds = seconds

    def judge(self, spec, weights, **named):
        time.sleep(self._seconds)
        return super().judge(spec, {"w": np.float32([0, float(weights["kernel"].sum())])}, **named)


class ExportLog:
    """An exporter that only keeps what it was asked, and raises what it is told to."""

    def __init__(self):
        self.asked = []
        self.error = None

    def export(self, folder, spec, *, step, kind, weights, judged):
        if self.error is not None:
            raise self.error
        assert not folder.verdict(step, kind).exists(), "the verdict says that the export is there"
        self.asked.append((folder.id, step, kind))
        return True


class Evaluator:
    """The whole evaluator but for TensorFlow, with a clock that stands still."""

    def __init__(
        self,
        volume,
        *,
        name="evaluator",
        policy="newest-first",
        patience=10.0,
        expiry=30.0,
        clock=None,
        answers=200,
        judge=None,
    ):
        self.clock = clock or Clock()
        self.registry = CollectorRegistry()
        self.judge, self.exporter, self.stop = judge or ArrayJudge(), ExportLog(), threading.Event()
        wall = self.wall = Wall()
        metrics = EvaluatorMetrics(self.registry)
        events = EventLog(wall=wall)
        verdicts = self.verdicts = VerdictWriter(evaluator=name, wall=wall)
        self.ledger = Ledger(
            volume=volume,
            policy=Policy.parse(policy),
            clock=self.clock,
            on_problem=lambda folder, error: events.add(folder, error.code, str(error)),
        )
        self.claims = Claims(owner=name, clock=self.clock, wall=wall, expiry=expiry)
        self.loop = EvaluationLoop(
            ledger=self.ledger,
            watch=PollingWatch(sleep=self.clock.move),
            claims=self.claims,
            assessor=Assessor(
                judge=self.judge,
                exporter=self.exporter,
                verdicts=verdicts,
                standings=Standings(keep=answers),
                curves=TensorBoardCurves(on_problem=metrics.problem),
                events=events,
                metrics=metrics,
                on_open=lambda manifest: None,
                clock=self.clock,
            ),
            verdicts=verdicts,
            closing=Closing(leases=LeaseWatch(clock=self.clock, expiry=expiry), events=events),
            events=events,
            metrics=metrics,
            presence=Presence(path=volume.evaluator(name) / "status.json", name=name, versions={}, wall=wall),
            retries=Retries(clock=self.clock),
            suspicions=Suspicions(clock=self.clock, patience=patience),
            stopping=self.stop.is_set,
            wall=wall,
            poll_seconds=0.5,
            beat_seconds=5.0,
        )

    def metric(self, name, **labels):
        return self.registry.get_sample_value(name, labels)


def events(folder):
    """What the evaluator told of a run: the kind and step of each event."""
    return [(event.kind, event.step) for _, event in read_lines(folder.evaluator_events, Event)]


def work(evaluator):
    """Steps until nothing is left that can be done now; returns how many were made."""
    steps = 0
    while evaluator.loop.step():
        steps += 1
        assert steps < 1000
    return steps
