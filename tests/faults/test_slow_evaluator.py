"""Fault matrix, row 15: a trainer commits many times while an evaluator judges once."""

import threading
from pathlib import Path

import pytest

from shared.checkpoints import CheckpointStore
from shared.layout import Volume
from shared.records import Verdict, read_record
from tests.evaluator.evaluator_parts import Evaluator, PatientJudge
from tests.trainer.runs import RUN, Trainer, small_spec

INTERVAL, STEPS = 4, 62  # the last checkpoint is at no multiple
KINDS = ("raw", "ema-0.9999")
COMMITTED = [*range(INTERVAL, STEPS, INTERVAL), STEPS]


class SlowEvaluator:
    """Judges in a thread, each kind of weights for as long as two checkpoints take to be made, however fast that is.

    Keeps how far behind it said to be each time.
    """

    def __init__(self, volume: Volume, policy: str) -> None:
        self.lags: list[float] = []
        judge = PatientJudge(0.001)
        judge.before = self._linger
        self._store = CheckpointStore(volume.run(RUN))
        self._evaluator = Evaluator(volume, policy=policy, judge=judge)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> "SlowEvaluator":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def lag(self) -> float:
        return self._evaluator.metric("tandem_evaluation_lag_steps", run=RUN) or 0.0

    def judged(self) -> list[int]:
        """The steps, in the order in which they were judged."""
        return list(dict.fromkeys(int(source.split("/")[-2]) for source in self._evaluator.judge.asked))

    def _linger(self, source: str) -> None:
        self.lags.append(self.lag())
        wanted = self._newest() + 2 * INTERVAL
        while self._newest() < wanted and not self._over.wait(0.001):
            pass

    def _newest(self) -> int:
        return max(self._store.steps(), default=0)

    def _work(self) -> None:
        while self._evaluator.loop.step() or not self._over.is_set():
            pass


@pytest.mark.parametrize("policy", ["newest-first", "latest", "all", "every:20"])
def test_f15_an_evaluator_that_is_too_slow_leaves_out_what_its_policy_says_and_never_the_last_one(
    tmp_path: Path, policy: str
) -> None:
    volume = Volume(tmp_path / "volume")
    trainer = Trainer(volume, volume.run(RUN))
    trainer.write_spec(small_spec(steps=STEPS, cadence={"log_steps": 50, "checkpoint_steps": INTERVAL}))
    with SlowEvaluator(volume, policy) as evaluator:
        assert trainer.train() == 0
        meanwhile = len(evaluator.judged())

    assert CheckpointStore(trainer.folder).steps() == COMMITTED
    judged = evaluator.judged()
    for kind in KINDS:
        assert read_record(trainer.folder.verdict(STEPS, kind), Verdict).status == "judged"
    if policy in ("newest-first", "all"):
        assert sorted(judged) == COMMITTED
    if policy == "newest-first":
        assert judged.index(STEPS) <= meanwhile, "the last one waits for what was in hand alone"
    if policy in ("latest", "all"):
        assert judged == sorted(judged)
    if policy == "latest":
        assert len(judged) <= len(COMMITTED) / 2
    if policy == "every:20":
        assert sorted(judged) == [20, 40, 60, STEPS]
    assert meanwhile <= len(COMMITTED) / 2, "it was to be the slower one"
    assert max(evaluator.lags) > INTERVAL
    assert evaluator.lag() == 0


def test_f15_retention_leaves_out_what_is_judged_too_late_and_never_the_last_one(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    trainer = Trainer(volume, volume.run(RUN))
    cadence = {"log_steps": 50, "checkpoint_steps": INTERVAL}
    trainer.write_spec(small_spec(steps=STEPS, cadence=cadence, retention={"latest": 1}))
    with SlowEvaluator(volume, "all") as evaluator:
        assert trainer.train() == 0
    judged = evaluator.judged()
    assert judged == sorted(judged)
    assert judged[-1] == STEPS
    assert len(judged) <= len(COMMITTED) / 2
    for kind in KINDS:
        assert read_record(trainer.folder.verdict(STEPS, kind), Verdict).status == "judged"
    assert evaluator.lag() == 0
