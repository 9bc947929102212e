"""Fault matrix, rows 2, 10, 19, 27: a training is killed, asked to stop, finds damaged records, sees clocks jump."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from services.trainer.session import Clocks
from shared.checkpoints import CheckpointStore
from shared.layout import RunFolder, Volume
from shared.lifecycle import StopEvent
from shared.records import Event, Fence, Rollbacks, TrainerStatus, read_lines, read_record, write_record
from shared.spec import RunSpec
from tests.faults.shim import Calls, wrapped
from tests.processes.trainers import bytes_at
from tests.trainer.runs import RUN, Trainer, small_spec

KILLS = 200
SEED = 20260101


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    volume = Volume(tmp_path / "volume")
    made = Trainer(volume, volume.run(RUN))
    made.write_spec(small_spec())
    return made


# The child trains and is killed; whatever threads other tests have left in this process are not in it.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.slow
def test_f02_killed_200_times_at_random_moments_no_step_is_lost_and_none_is_torn(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    spec = small_spec(steps=600, cadence={"log_steps": 50, "checkpoint_steps": 10}, retention={"latest": 2})
    whole = Trainer(volume, volume.run("whole"))
    whole.write_spec(spec)
    assert whole.train() == 0
    generator = random.Random(SEED)
    kills = 0
    for number in count():
        kills += killed_until_complete(
            Trainer(volume, volume.run(f"run-{number}")), spec, generator, most=KILLS - kills
        )
        assert bytes_at(volume.run(f"run-{number}"), spec.steps) == bytes_at(whole.folder, spec.steps)
        if kills == KILLS:
            break


def killed_until_complete(trainer: Trainer, spec: RunSpec, generator: random.Random, *, most: int) -> int:
    """Kills the trainer again and again, at most so often, and lets it come to its end then. Returns how often."""
    trainer.write_spec(spec)
    store = CheckpointStore(trainer.folder)
    reached, kills = 0, 0
    while reached < spec.steps and kills < most:
        child = os.fork()
        if child == 0:
            os._exit(trainer.train())
        time.sleep(generator.uniform(0.0, 0.05))  # not a wait for anything: the moment of the fault
        os.kill(child, signal.SIGKILL)
        kills += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        steps = store.steps()
        for step in steps:
            store.open(step).verify()
        assert max(steps, default=0) >= reached, f"after {kills} kills of seed {SEED} the newest step went backwards"
        reached = max(steps, default=0)
    assert trainer.train() == 0
    assert [entry.name for entry in trainer.folder.checkpoints.iterdir() if not entry.name.isdecimal()] == []
    return kills


# As above: what other threads of this process do is not under test.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_f19_sigterm_before_any_call_on_the_volume_ends_in_a_checkpoint_that_is_gone_on_with(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    spec = small_spec(steps=20, cadence={"log_steps": 10, "checkpoint_steps": 10}, retention={"latest": 1})
    whole = Trainer(volume, volume.run("whole"))
    whole.write_spec(spec)
    with wrapped(Calls(volume.root)) as calls:
        assert whole.train() == 0
    assert calls.made.count("rename") > 2
    ends: set[str] = set()
    for number in range(1, len(calls.made) + 1, 3):
        trainer = Trainer(volume, volume.run(f"run-{number}"))
        trainer.write_spec(spec)

        def ask(at: int, _name: str, number: int = number) -> None:
            if at == number:
                os.kill(os.getpid(), signal.SIGTERM)

        child = os.fork()
        if child == 0:
            trainer.stop.install()
            with wrapped(Calls(volume.root, ask)):
                os._exit(trainer.train())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, f"at call {number}"
        status = trainer.status()
        assert status.step == (status.checkpoint_step or 0), "what it had done is committed"
        assert CheckpointStore(trainer.folder).steps()[-1:] == ([status.step] if status.step else [])
        ends.add(status.phase)
        assert trainer.train() == 0
        assert bytes_at(trainer.folder, spec.steps) == bytes_at(whole.folder, spec.steps)
    assert ends == {"released", "completed"}


def emptied(path: Path, _early: bytes) -> None:
    path.write_bytes(b"")


def halved(path: Path, _early: bytes) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwritten(path: Path, _early: bytes) -> None:
    path.write_bytes(b"\xff\x00nonsense")


def removed(path: Path, _early: bytes) -> None:
    path.unlink()


def made_stale(path: Path, early: bytes) -> None:
    path.write_bytes(early)


DAMAGES: list[Callable[[Path, bytes], None]] = [emptied, halved, overwritten, removed, made_stale]


def interrupted(trainer: Trainer) -> bytes:
    """Trains to step 25 and lets go. Returns what the status said after the first checkpoint."""
    early: list[bytes] = []

    def look(step: int) -> None:
        if step == 12:
            early.append(trainer.folder.status.read_bytes())
        if step == 24:
            trainer.stop.set()

    trainer.settings["trainer_steps_per_call"] = 1
    trainer.before_step = look
    assert trainer.train() == 0
    trainer.stop = StopEvent()
    trainer.before_step = lambda step: None
    return early[0]


def resumed_at(folder: RunFolder) -> list[int | None]:
    return [event.step for _, event in read_lines(folder.trainer_events, Event) if event.kind == "resumed"]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_f10_a_status_that_is_damaged_or_stale_does_not_decide_where_a_run_goes_on(
    trainer: Trainer, damage: Callable[[Path, bytes], None]
) -> None:
    early = interrupted(trainer)
    damage(trainer.folder.status, early)

    assert trainer.train() == 0
    assert resumed_at(trainer.folder) == [25]
    assert read_record(trainer.folder.status, TrainerStatus).phase == "completed"


@pytest.mark.parametrize("damage", DAMAGES[:4], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["fence", "series", "trainer_events", "rollbacks"])
def test_f10_no_damaged_record_lets_a_run_begin_anew(
    trainer: Trainer, name: str, damage: Callable[[Path, bytes], None]
) -> None:
    write_record(trainer.folder.rollbacks, Rollbacks())
    interrupted(trainer)
    damage(getattr(trainer.folder, name), b"")

    code = trainer.train()

    if name == "rollbacks" and damage is not removed:  # how fast it is to learn must not be guessed at
        assert (code, trainer.status().failure["code"]) == (1, "corrupt_record")
        assert CheckpointStore(trainer.folder).steps() == [10, 20, 25]
    else:
        assert code == 0
        assert resumed_at(trainer.folder) == [25]


def test_f10_a_fence_that_was_lost_is_not_given_out_again(trainer: Trainer) -> None:
    interrupted(trainer)
    for expected in (2, 3):
        trainer.folder.fence.write_bytes(b"")
        assert trainer.train() == 0
        assert read_record(trainer.folder.fence, Fence).fence == expected


def test_f27_clocks_that_jump_change_neither_bytes_nor_what_is_kept(trainer: Trainer) -> None:
    spec = small_spec(retention={"latest": 2})
    trainer.write_spec(spec)
    assert trainer.train() == 0
    jumping = Trainer(trainer.volume, trainer.volume.run("jumping"))
    jumping.write_spec(spec)
    jumps = count()
    jumping.clocks = Clocks(time=lambda: 1e9 * (-1) ** next(jumps))  # thirty years forth, sixty back, at every look

    assert jumping.train() == 0

    assert CheckpointStore(jumping.folder).steps() == CheckpointStore(trainer.folder).steps() == [30, 40]
    assert bytes_at(jumping.folder, 40) == bytes_at(trainer.folder, 40)


def test_f10_checkpoints_copied_to_a_volume_of_their_own_are_gone_on_with(trainer: Trainer, tmp_path: Path) -> None:
    interrupted(trainer)
    moved = Trainer(Volume(tmp_path / "moved"), Volume(tmp_path / "moved").run(RUN))
    moved.folder.checkpoints.parent.mkdir(parents=True)
    shutil.copytree(trainer.folder.checkpoints, moved.folder.checkpoints)
    shutil.copy(trainer.folder.spec, moved.folder.spec)

    assert moved.train() == 0
    assert resumed_at(moved.folder) == [25]
