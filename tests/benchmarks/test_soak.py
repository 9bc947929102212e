"""The schedule of the soak, and that its checks notice what they are for."""

from pathlib import Path

from benchmarks.soak.schedule import ACTIONS, schedule
from benchmarks.soak.verdict import orphans, troubles_of_run
from shared.checkpoints import CheckpointStore
from shared.layout import RunFolder, Volume
from shared.records import Verdict, write_record
from tests.trainer.runs import RUN, Trainer, small_spec

ROLES = ["gateway", "evaluator-0", "slot-0"]


def test_the_same_seed_gives_the_same_schedule_and_another_seed_another():
    faults = schedule(seed=7, seconds=600, roles=ROLES)
    assert faults == schedule(seed=7, seconds=600, roles=ROLES)
    assert faults != schedule(seed=8, seconds=600, roles=ROLES)


def test_everybody_is_struck_by_everything_and_all_is_over_in_time():
    faults = schedule(seed=7, seconds=600, roles=ROLES)
    assert {(fault.role, fault.action) for fault in faults} == {(role, action) for role in ROLES for action in ACTIONS}
    assert all(0 <= fault.at <= fault.at + fault.seconds <= 600 for fault in faults)
    assert faults == sorted(faults, key=lambda fault: fault.at)


def finished(root: Path) -> RunFolder:
    volume = Volume(root)
    trainer = Trainer(volume, volume.run(RUN))
    spec = small_spec(retention={"latest": 1, "best": 0})
    trainer.write_spec(spec)
    assert trainer.train() == 0
    for kind in spec.weights_kinds:
        weights, decay = ("raw", None) if kind == "raw" else ("ema", 0.9999)
        write_record(
            trainer.folder.verdict(40, kind), Verdict(run=RUN, step=40, weights=weights, decay=decay, time=0.0)
        )
    return trainer.folder


def test_a_run_that_is_as_it_must_be_has_no_troubles(tmp_path: Path):
    folder = finished(tmp_path)
    assert troubles_of_run(folder, CheckpointStore(folder).open(40), readers=2) == []
    assert orphans(Volume(tmp_path)) == []


def test_each_broken_promise_is_a_trouble(tmp_path: Path):
    folder, other = finished(tmp_path / "one"), finished(tmp_path / "other")
    reference = CheckpointStore(other).open(40)
    (other.checkpoint(40) / "raw.safetensors").write_bytes(b"other")
    folder.verdict(40, "raw").unlink()
    (folder.checkpoints / ".tmp-50-1-abcd").mkdir()
    (folder.leases).mkdir()
    (folder.leases / "40.json").write_text("{}")
    assert troubles_of_run(folder, reference, readers=2) == [
        "raw.safetensors is not that of an undisturbed run",
        "there is no verdict on raw at step 40",
    ]
    assert orphans(Volume(tmp_path / "one")) == [
        f"runs/{RUN}/checkpoints/.tmp-50-1-abcd",
        f"runs/{RUN}/leases/40.json",
    ]
