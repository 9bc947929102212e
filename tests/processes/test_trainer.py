"""The trainer as a real process, with the NumPy engine: killed, stopped, paused, on a full disk, taken over."""

import os
import random
import re
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

from shared.checkpoints import CheckpointStore
from shared.layout import RunFolder, Volume
from shared.records import Assignment, Desired, Event, Fence, read_lines, read_record, write_record
from tests.processes.trainers import TrainerProcess, bytes_at, make_run, status_of, training, until, until_step
from tests.trainer.runs import small_spec

RUN = "20260101-000000-run-0000"


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "volume")


@pytest.mark.slow
def test_f02_killed_again_and_again_at_random_moments_the_run_ends_with_the_same_bytes(volume: Volume) -> None:
    spec = small_spec(steps=1200, cadence={"log_steps": 10, "checkpoint_steps": 20}, retention={"latest": 3})
    whole = make_run(volume, "whole", spec)
    with training(volume, "--run", "whole") as trainer:
        assert trainer.end() == 0, trainer.text()
    folder = make_run(volume, RUN, spec)
    store = CheckpointStore(folder)
    generator = random.Random(20260101)
    reached = 0
    for loop in range(24):
        with training(volume, "--run", RUN, SECONDS_PER_STEP="0.003") as trainer:
            # In turns soon after the start, whatever it does then, and after it has got further than the one before.
            started = time.time()
            until(lambda: (now := status_of(folder)) is not None and now.started >= started, what=trainer)  # noqa: B023
            if loop % 2:
                until_step(folder, reached + 1, what=trainer)
            time.sleep(generator.uniform(0, 0.15))  # not a wait for anything: the moment of the fault
            trainer.signal(signal.SIGKILL)
            trainer.end()
        steps = store.steps()
        for step in steps:
            store.open(step).verify()
        assert max(steps, default=0) >= reached, "the newest step went backwards"
        reached = max(steps, default=0)
    with training(volume, "--run", RUN) as trainer:
        assert trainer.end() == 0, trainer.text()

    assert 0 < reached < 1200, "every kill was to meet a run under way"
    assert bytes_at(folder, 1200) == bytes_at(whole, 1200)
    assert [entry.name for entry in folder.checkpoints.iterdir() if not entry.name.isdecimal()] == []


def test_f19_sigterm_commits_the_step_it_came_at_and_releases_the_slot(volume: Volume) -> None:
    folder = make_run(volume, RUN, small_spec(steps=100_000, cadence={"log_steps": 10, "checkpoint_steps": 10_000}))
    with training(volume, "--run", RUN, SECONDS_PER_STEP="0.01") as trainer:
        until(lambda: (status := status_of(folder)) is not None and status.step >= 20, what=trainer)
        began = time.monotonic()
        trainer.signal(signal.SIGTERM)
        assert trainer.end() == 0, trainer.text()

    assert time.monotonic() - began < 10
    status = status_of(folder)
    assert status is not None
    assert (status.phase, status.step) == ("released", status.checkpoint_step)
    assert CheckpointStore(folder).steps() == [status.step]


def test_f19_a_second_sigterm_ends_it_at_once_and_tears_nothing(volume: Volume, tmp_path: Path) -> None:
    # On a full disk the last commit is tried again for seconds: time enough for the second signal.
    full = tmp_path / "full"
    folder = make_run(volume, RUN, small_spec(steps=100_000))
    with training(volume, "--run", RUN, SECONDS_PER_STEP="0.005", FULL_DISK=str(full)) as trainer:
        until_step(folder, 10, what=trainer)
        full.touch()
        trainer.signal(signal.SIGTERM)
        until(lambda: (status := status_of(folder)) is not None and status.phase == "stopping", what=trainer)
        trainer.signal(signal.SIGTERM)
        assert trainer.end(seconds=2) == 128 + signal.SIGTERM

    store = CheckpointStore(folder)
    for step in store.steps():
        store.open(step).verify()
    full.unlink()
    with training(volume, "--run", RUN, SECONDS_PER_STEP="0.005") as trainer:
        until_step(folder, max(store.steps()) + 10, what=trainer)


def test_f20_a_trainer_that_is_the_first_process_of_a_namespace_commits_and_releases_its_slot(volume: Volume) -> None:
    # Of signals that it does not handle, the kernel lets none reach such a process.
    within = ["unshare", "--fork", "--pid", "--kill-child"]
    if subprocess.run([*within, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to make a process namespace")
    folder = make_run(volume, RUN, small_spec(steps=100_000))
    with training(volume, "--run", RUN, within=within, SECONDS_PER_STEP="0.005") as trainer:
        until_step(folder, 10, what=trainer)
        assert status_of(folder).pid == 1
        (first,) = Path(f"/proc/{trainer.process.pid}/task/{trainer.process.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        assert trainer.end() == 0, trainer.text()
    status = status_of(folder)
    assert (status.phase, status.checkpoint_step) == ("released", status.step)


def test_f05_f48_a_disk_that_is_full_for_a_while_costs_checkpoints_and_no_training(
    volume: Volume, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    full.touch()
    folder = make_run(volume, RUN, small_spec(steps=100_000))
    with training(volume, "--run", RUN, SECONDS_PER_STEP="0.002", FULL_DISK=str(full)) as trainer:
        until(lambda: (status := status_of(folder)) is not None and status.step >= 50, what=trainer)
        assert CheckpointStore(folder).steps() == []
        full.unlink()
        until_step(folder, 50, what=trainer)
        trainer.signal(signal.SIGTERM)
        assert trainer.end() == 0
    failures = [e for _, e in read_lines(folder.trainer_events, Event) if e.kind == "checkpoint_failed"]
    assert len(failures) >= 2
    assert trainer.text().count("could not be committed") == 1


def test_f21_a_trainer_that_is_left_no_more_memory_says_so_and_goes_on_once_there_is_some(volume: Volume) -> None:
    spec = small_spec(steps=100)
    whole, folder = make_run(volume, "whole", spec), make_run(volume, RUN, spec)
    with training(volume, "--run", "whole") as trainer:
        assert trainer.end() == 0, trainer.text()
    with training(volume, "--run", RUN, HUNGRY_FROM="35") as trainer:
        assert trainer.end() == 1, trainer.text()
    status = status_of(folder)
    assert (status.phase, status.failure["code"]) == ("failed", "out_of_memory")
    assert "batch_size" in status.failure["hint"]
    assert 20 <= max(CheckpointStore(folder).steps()) < 100
    with training(volume, "--run", RUN) as trainer:
        assert trainer.end() == 0, trainer.text()
    assert bytes_at(folder, 100) == bytes_at(whole, 100)


def test_hold_release_and_stop_are_followed_within_half_a_second_or_so(volume: Volume) -> None:
    folder = make_run(volume, RUN, small_spec(steps=100_000, cadence={"log_steps": 10, "checkpoint_steps": 10_000}))

    def want(generation: int, state: str, pause: str = "release") -> float:
        write_record(folder.desired, Desired(generation=generation, state=state, pause=pause, time=0.0))
        return time.monotonic()

    def phase(trainer: TrainerProcess, name: str) -> None:
        until(lambda: (status := status_of(folder)) is not None and status.phase == name, what=trainer, ends=True)

    with training(volume, "--run", RUN, SECONDS_PER_STEP="0.005") as trainer:
        phase(trainer, "running")
        asked = want(1, "paused", "hold")
        phase(trainer, "holding")
        assert time.monotonic() - asked < 5
        want(2, "running")
        phase(trainer, "running")
        want(3, "paused", "release")
        assert trainer.end() == 0
    assert status_of(folder).phase == "released"
    assert status_of(folder).generation_seen == 3
    want(4, "running")
    with training(volume, "--run", RUN, SECONDS_PER_STEP="0.005") as trainer:
        phase(trainer, "running")
        want(5, "stopped")
        assert trainer.end() == 0
    status = status_of(folder)
    assert (status.phase, status.checkpoint_step) == ("stopped", status.step)


def test_f17_a_second_trainer_is_refused_in_one_line_that_names_the_first(volume: Volume) -> None:
    folder = make_run(volume, RUN, small_spec(steps=100_000))
    with training(volume, "--run", RUN, SECONDS_PER_STEP="0.005") as first:
        until_step(folder, 10, what=first)
        with training(volume, "--run", RUN) as second:
            assert second.end() == 1
        assert f"process {first.process.pid} on" in second.text()
        assert len(second.text().splitlines()) == 1
        until_step(folder, max(CheckpointStore(folder).steps()) + 10, what=first)


def fences(folder: RunFolder) -> dict[int, int]:
    """The fencing number of the trainer that committed each step."""
    store = CheckpointStore(folder)
    return {step: store.open(step).manifest.fence for step in store.steps()}


def test_f18_a_stopped_trainer_is_taken_over_and_cannot_commit_when_it_wakes(volume: Volume) -> None:
    folder = make_run(volume, RUN, small_spec(steps=100_000))
    slot_a, slot_b = volume.slot("a"), volume.slot("b")
    write_record(slot_a.assignment, Assignment(run=RUN, fence=1, time=0.0))
    write_record(slot_b.assignment, Assignment(run=RUN, fence=2, time=0.0))
    environment = {"SECONDS_PER_STEP": "0.005", "TANDEM_TRAINER_TAKEOVER_SECONDS": "1.5"}
    with training(volume, "--slot", "a", **environment) as old:
        until_step(folder, 20, what=old)
        old.signal(signal.SIGSTOP)
        with training(volume, "--slot", "b", **environment) as new:
            until(lambda: read_record(folder.fence, Fence).fence == 2, what=new)
            until_step(folder, max(CheckpointStore(folder).steps()) + 10, what=new)
            before = fences(folder)
            old.signal(signal.SIGCONT)
            assert old.end() == 1
            assert "slot b" in old.text()
            assert "has taken over with fence 2; this trainer has 1" in old.text()
            woken = max(CheckpointStore(folder).steps())
            until_step(folder, woken + 20, what=new)
            new.signal(signal.SIGTERM)
            assert new.end() == 0
    after = fences(folder)
    assert {step for step, fence in after.items() if fence == 1} == {
        step for step, fence in before.items() if fence == 1
    }, "the old trainer committed after it woke"
    assert list(after.values()) == sorted(after.values()), "a step of the old trainer came after one of the new"
    assert status_of(folder).slot == "b"


def test_f17_a_trainer_whose_heart_beats_is_not_taken_over(volume: Volume) -> None:
    folder = make_run(volume, RUN, small_spec(steps=100_000))
    for number, slot in enumerate(("a", "b"), start=1):
        write_record(volume.slot(slot).assignment, Assignment(run=RUN, fence=number, time=0.0))
    with training(volume, "--slot", "a", SECONDS_PER_STEP="0.005") as old:
        until_step(folder, 10, what=old)
        with training(volume, "--slot", "b") as new:
            assert new.end() == 1
            assert "slot a" in new.text()
        assert old.process.poll() is None


def test_f42_a_volume_that_cannot_be_written_to_is_named_with_the_user(volume: Volume) -> None:
    # Root may write everywhere, so a trainer that root starts becomes somebody else first.
    user = os.getuid() or 65_534
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        closed = Volume(Path(folder))
        with training(volume, "--volume", folder, "--slot", "a", AS_USER=str(user)) as trainer:
            assert trainer.end() == 1
        assert list(closed.root.iterdir()) == []
    assert trainer.text().startswith(f"trainer: {closed.slot('a').root}: cannot be written to by user {user}")
    assert len(trainer.text().splitlines()) == 1


def test_a_file_where_the_volume_should_be_is_named_in_one_line(volume: Volume) -> None:
    volume.root.write_text("not a folder")
    with training(volume, "--slot", "a") as trainer:
        assert trainer.end() == 1
    assert len(trainer.text().splitlines()) == 1
    assert f"{volume.slot('a').root}: cannot be written to by user {os.getuid()}" in trainer.text()


@pytest.mark.parametrize(
    ("flags", "environment", "named"),
    [
        (["--run", "missing"], {}, "missing/spec.json"),
        (["--run", "../etc"], {}, "'../etc' is not a run's id"),
        (["--run", "x", "--recipe", "/nowhere.yaml"], {}, "/nowhere.yaml"),
        (["--slot", "a"], {"TANDEM_TRAINER_THREADS": "none"}, "TANDEM_TRAINER_THREADS"),
    ],
)
def test_what_is_handed_in_wrongly_is_named_in_one_line_and_nothing_is_made(
    volume: Volume, flags: list[str], environment: dict[str, str], named: str
) -> None:
    with training(volume, *flags, **environment) as trainer:
        assert trainer.end() == 2
    assert named in trainer.text()
    assert len(trainer.text().splitlines()) == 1
    assert not volume.root.exists()


def test_metrics_are_served_where_a_port_is_set(volume: Volume) -> None:
    make_run(volume, RUN, small_spec(steps=100_000))
    with training(volume, "--run", RUN, SECONDS_PER_STEP="0.005", TANDEM_TRAINER_METRICS_PORT="0") as trainer:
        until(lambda: "/metrics" in trainer.text(), what=trainer)
        address = re.search(r"http://\S+/metrics", trainer.text())
        assert address is not None

        def scraped() -> str:
            with urllib.request.urlopen(address.group(), timeout=10) as answer:
                return answer.read().decode()

        until(lambda: f'tandem_checkpoint_commits_total{{run="{RUN}"}}' in scraped(), what=trainer)
        until(lambda: f'tandem_checkpoint_write_seconds_count{{run="{RUN}"}} 0.0' not in scraped(), what=trainer)
        text = scraped()
    for name in ("tandem_training_step", "tandem_training_loss", "tandem_training_examples_total", "tandem_build_info"):
        assert re.search(rf"^{name}{{.*}} \S+$", text, re.MULTILINE), name
