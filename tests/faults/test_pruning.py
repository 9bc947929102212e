"""Fault matrix, row 12: checkpoints are removed as fast as they are made while two evaluators read them."""

import threading
import time
from pathlib import Path

from shared.layout import Volume
from shared.records import Event, Verdict, read_lines, read_record
from tests.evaluator.evaluator_parts import Evaluator, PatientJudge
from tests.trainer.runs import RUN, Trainer, small_spec

STEPS = 100
WITHIN = 60.0


def test_f12_what_is_removed_while_it_is_read_surfaces_as_no_error(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    trainer = Trainer(volume, volume.run(RUN))
    trainer.write_spec(
        small_spec(steps=STEPS, cadence={"log_steps": 50, "checkpoint_steps": 1}, retention={"latest": 1})
    )
    trainer.settings["trainer_steps_per_call"] = 1
    trainer.before_step = lambda step: time.sleep(0.004)
    # Some milliseconds for each kind of weights: long enough for checkpoints to come and go meanwhile.
    evaluators = [Evaluator(volume, name=f"evaluator-{number}", judge=PatientJudge(0.004)) for number in range(2)]
    over = threading.Event()

    def judge(evaluator: Evaluator) -> None:
        while evaluator.loop.step() or not over.is_set():
            pass

    threads = [threading.Thread(target=judge, args=(evaluator,)) for evaluator in evaluators]
    for thread in threads:
        thread.start()
    try:
        assert trainer.train() == 0
    finally:
        over.set()
        for thread in threads:
            thread.join(WITHIN)
    assert not any(thread.is_alive() for thread in threads)

    outcomes = {
        outcome: sum(each.metric("tandem_evaluations_total", outcome=outcome) or 0 for each in evaluators)
        for outcome in ("judged", "pruned", "abandoned", "retried", "corrupt", "failed")
    }
    assert outcomes["judged"] > 5, outcomes
    assert (outcomes["retried"], outcomes["corrupt"], outcomes["failed"]) == (0, 0, 0), outcomes
    told = {event.kind for _, event in read_lines(trainer.folder.evaluator_events, Event)}
    assert not told & {"corrupt", "failed", "io", "unforeseen"}, told
    for kind in ("raw", "ema-0.9999"):
        assert read_record(trainer.folder.verdict(STEPS, kind), Verdict).status == "judged"
    judged = [source for each in evaluators for source in each.judge.asked]
    assert len(judged) == len(set(judged)), "nothing is judged twice"
    assert list(trainer.folder.leases.glob("*.json")) == []
