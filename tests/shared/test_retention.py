from pathlib import Path

import numpy as np
import pytest

from shared.checkpoints import CheckpointStore
from shared.layout import RunFolder, Volume
from shared.leases import LeaseWatch
from shared.records import Lease, Pins, Verdict, write_record
from shared.retention import Pruner, dispensable
from shared.spec import RetentionSpec, RunSpec


@pytest.mark.parametrize(
    ("latest", "best", "precisions", "gone"),
    [
        (2, 0, {}, [10, 20, 30]),
        (2, 1, {10: 0.5, 20: 0.9, 30: 0.1}, [10, 30]),
        (1, 2, {10: 0.5, 20: 0.9, 30: 0.1, 50: 0.95}, [10, 30, 40]),
        (1, 1, {10: 0.5, 20: 0.5}, [20, 30, 40]),  # of equally good ones the older is kept
        (9, 0, {}, []),
    ],
)
def test_what_no_rule_keeps_may_go(latest: int, best: int, precisions: dict[int, float], gone: list[int]) -> None:
    rule = RetentionSpec(latest=latest, best=best)

    assert dispensable([10, 20, 30, 40, 50], rule=rule, precisions=precisions, final=1000) == gone


def test_the_last_checkpoint_of_a_finished_run_is_kept_though_the_run_went_on() -> None:
    assert dispensable([10, 20, 30], rule=RetentionSpec(latest=1, best=0), precisions={}, final=20) == [10]


class Pruning:
    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.store = CheckpointStore(folder)
        self.spec = RunSpec(steps=1000, retention=RetentionSpec(latest=1, best=1))
        self.removed: list[int] = []
        self.now = 0.0
        self._pruner = Pruner(
            folder=folder,
            store=self.store,
            spec=self.spec,
            final=lambda: 1000,
            leases=LeaseWatch(clock=lambda: self.now, expiry=60),
            on_remove=self.removed.append,
        )

    def commit(self, step: int) -> None:
        groups = {kind: {"w": np.float32([step])} for kind in ("raw", "ema-0.9999", "optimizer")}
        self.store.commit(step=step, fence=1, spec_sha256="0" * 64, groups=groups, time=0.0)

    def judge(self, step: int, precision: float) -> None:
        verdict = Verdict(
            run=self.folder.id, step=step, weights="ema", decay=0.9999, examples=10, precision_at_1=precision, time=0.0
        )
        write_record(self.folder.verdict(step, "ema-0.9999"), verdict)

    def prune(self) -> list[int]:
        self._pruner.prune()
        return self.store.steps()


@pytest.fixture
def pruning(tmp_path: Path) -> Pruning:
    made = Pruning(Volume(tmp_path).run("20260101-000000-run-0000"))
    for step in (10, 20, 30, 40):
        made.commit(step)
    return made


def test_the_best_by_ema_precision_stays_and_verdicts_of_the_removed_stay(pruning: Pruning) -> None:
    pruning.judge(10, 0.5)
    pruning.judge(20, 0.8)

    assert pruning.prune() == [20, 40]
    assert pruning.removed == [10, 30]
    assert pruning.folder.verdict(10, "ema-0.9999").exists()


def test_f12_a_checkpoint_that_is_being_read_stays_until_its_lease_is_given_up(pruning: Pruning) -> None:
    write_record(pruning.folder.lease(30), Lease(step=30, owner="e", token="t", beat=1, time=0.0))
    assert pruning.prune() == [30, 40]

    pruning.folder.lease(30).unlink()
    assert pruning.prune() == [40]


def test_f13_a_lease_whose_owner_died_keeps_nothing_after_its_expiry(pruning: Pruning) -> None:
    write_record(pruning.folder.lease(30), Lease(step=30, owner="e", token="t", beat=1, time=0.0))
    assert pruning.prune() == [30, 40]

    pruning.now = 61.0
    assert pruning.prune() == [40]


def test_an_unreadable_verdict_keeps_nothing(pruning: Pruning) -> None:
    path = pruning.folder.verdict(10, "ema-0.9999")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{")

    assert pruning.prune() == [40]


def test_regular_and_pinned_ones_are_kept_besides() -> None:
    rule = RetentionSpec(latest=1, best=1, every_steps=30)
    steps = [10, 20, 30, 40, 50, 60, 70]
    assert dispensable(steps, rule=rule, precisions={40: 0.9}, final=1000, pinned={20}) == [10, 50]


def test_a_pinned_checkpoint_stays_until_it_is_unpinned(pruning: Pruning) -> None:
    write_record(pruning.folder.pins, Pins(steps=(20,)))
    assert pruning.prune() == [20, 40]

    write_record(pruning.folder.pins, Pins())
    assert pruning.prune() == [40]


def test_nothing_is_removed_while_it_cannot_be_read_what_is_pinned(pruning: Pruning) -> None:
    pruning.folder.pins.write_bytes(b"{")
    assert pruning.prune() == [10, 20, 30, 40]
