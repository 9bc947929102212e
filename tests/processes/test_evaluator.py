"""The evaluator as a process of its own, with TensorFlow."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from shared.answers import read_answers
from shared.checkpoints import CheckpointStore, spec_digest
from shared.layout import Volume
from shared.records import EvaluatorStatus, Event, ExportManifest, Lease, Verdict, read_lines, read_record, write_record
from shared.spec import AlternateSharing, AugmentSpec, DatasetSpec, EvaluationSpec, RunSpec

EMA = "ema-0.9999"
EXAMPLES = 203
DEADLINE = 120.0

SHAPES = {
    "conv1/kernel": (5, 5, 3, 64),
    "conv1/bias": (64,),
    "conv2/kernel": (5, 5, 64, 64),
    "conv2/bias": (64,),
    "local3/kernel": (3 * 3 * 64, 384),
    "local3/bias": (384,),
    "local4/kernel": (384, 192),
    "local4/bias": (192,),
    "softmax_linear/kernel": (192, 10),
    "softmax_linear/bias": (10,),
}


@pytest.fixture
def volume(tmp_path):
    return Volume(tmp_path / "volume")


@pytest.fixture
def spec():
    return RunSpec(
        dataset=DatasetSpec(kind="shapes", train_examples=10, test_examples=EXAMPLES),
        augment=AugmentSpec(crop=12),
        evaluation=EvaluationSpec(batch_size=50),
        steps=1000,
    )


@pytest.fixture
def commit(volume, spec):
    chance = np.random.default_rng(0)

    def commit_step(run, step):
        folder = volume.run(run)
        if not folder.spec.exists():
            write_record(folder.spec, spec)
        groups = {
            kind: {name: (0.05 * chance.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}
            for kind in ("raw", EMA)
        }
        CheckpointStore(folder).commit(
            step=step, fence=1, spec_sha256=spec_digest(spec), groups=groups, time=time.time()
        )
        return folder

    return commit_step


@pytest.fixture
def start(volume, tmp_path):
    processes = []

    def start_evaluator(*flags, **variables):
        log = tmp_path / f"evaluator-{len(processes)}.log"
        # Other tests of this process may have hidden the GPUs from their own TensorFlow; this one is told itself.
        inherited = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        environment = {
            **inherited,
            "TANDEM_EVALUATOR_NICE": "0",
            **{f"TANDEM_EVALUATOR_{name}": value for name, value in variables.items()},
        }
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.evaluator", "--volume", str(volume.root), *flags],
                cwd=Path(__file__).parents[2],
                env=environment,
                stderr=file,
            )
        process.log = log
        processes.append(process)
        return process

    yield start_evaluator
    for process in processes:
        process.kill()
        process.wait()


def until(condition, what):
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never {what}"
        time.sleep(0.01)
    return value


def test_it_judges_a_commit_exports_it_shows_it_and_stops_in_order(start, commit, volume):
    folder = commit("20260101-000000-run-0001", 10)
    process = start(METRICS_PORT="0")
    until(folder.verdict(10, EMA).exists, "a verdict on what lay there before")
    commit(folder.id, 20)
    until(folder.verdict(20, EMA).exists, "a verdict on a new commit")
    for kind in ("raw", EMA):
        found = read_record(folder.verdict(20, kind), Verdict)
        assert (found.status, found.examples, found.top_k) == ("judged", EXAMPLES, 5)
        assert sum(map(sum, found.confusion)) == EXAMPLES
    export = read_record(folder.export(20) / "manifest.json", ExportManifest)
    assert export.precision_at_1 == read_record(folder.verdict(20, EMA), Verdict).precision_at_1

    port = re.search(r"metrics: http://127\.0\.0\.1:(\d+)/metrics", process.log.read_text()).group(1)

    def shown():
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        return 'tandem_evaluations_total{outcome="judged"} 2.0' in text and text

    text = until(shown, "both checkpoints counted")
    assert f'tandem_evaluation_step{{run="{folder.id}"}} 20.0' in text
    noticed = float(re.search(r"tandem_evaluation_start_seconds_sum (\S+)", text).group(1))
    assert "tandem_evaluation_start_seconds_count 1.0" in text
    assert noticed < 5.0
    assert read_record(volume.evaluator("evaluator") / "status.json", EvaluatorStatus).pid == process.pid

    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    assert process.wait(DEADLINE) == 0
    assert time.monotonic() - started < 5.0
    assert not list(folder.leases.glob("*.json"))
    log = [json.loads(line) for line in (volume.evaluator("evaluator") / "log.jsonl").read_text().splitlines()]
    assert {10, 20} <= {line.get("step") for line in log if line.get("run") == folder.id}


def test_f13_f14_f49_a_fleet_of_three_with_random_kills_judges_each_checkpoint_exactly_once(start, commit, volume):
    chance = random.Random(5)
    folder = volume.run("20260101-000000-run-0001")
    fleet = {name: start("--name", name, LEASE_SECONDS="2") for name in ("one", "two", "three")}
    steps, verdicts = [], {}

    def look():
        """Whether all verdicts are there; that none of them ever changes is seen on the way."""
        for path, first in verdicts.items():
            found = path.read_bytes() if path.exists() else None
            assert first in (None, found), f"{path} was replaced"
            verdicts[path] = found
        return all(verdicts.values())

    def busy():
        look()
        owners = set()
        for path in folder.leases.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                owners.add(read_record(path, Lease).owner)
        return sorted(owners & {name for name, process in fleet.items() if process.poll() is None})

    for round_ in range(3):
        for _ in range(4):
            steps.append(10 * len(steps) + 10)
            commit(folder.id, steps[-1])
            verdicts.update(dict.fromkeys(folder.verdict(steps[-1], kind) for kind in ("raw", EMA)))
        victim = chance.choice(until(busy, "anything in hand"))
        moment = time.monotonic() + chance.uniform(0, 0.2)
        until(lambda moment=moment: time.monotonic() >= moment, "the moment")
        fleet[victim].send_signal(signal.SIGKILL)
        assert fleet[victim].wait(DEADLINE) == -signal.SIGKILL
        if round_ < 2:
            fleet[victim] = start("--name", victim, LEASE_SECONDS="2")
    until(look, "all judged")
    until(lambda: not list(folder.leases.glob("*.json")), "no lease left")
    for step in steps:
        names = sorted(path.name for path in (folder.evaluations / str(step)).iterdir())
        assert names == [f"{EMA}.answers", f"{EMA}.json", "raw.answers", "raw.json"]
        for kind in ("raw", EMA):
            verdict = read_record(folder.verdict(step, kind), Verdict)
            assert verdict.examples == EXAMPLES
            assert read_answers(folder, kind, verdict).correct.mean() == pytest.approx(verdict.precision_at_1)
    assert list(read_lines(folder.evaluator_events, Event)) == []

    assert start("--once").wait(DEADLINE) == 0
    assert look()


def test_f43_a_visible_gpu_ends_it_with_exit_code_2(volume, tmp_path):
    code = (
        "import sys; from services.evaluator.__main__ import main; sys.exit(main(sys.argv[1:], gpus=lambda: ['GPU:0']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--volume", str(volume.root)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 2
    assert "must not touch a GPU" in done.stderr


def test_a_gpu_of_its_own_that_is_not_there_ends_it_with_exit_code_2(start):
    process = start(DEVICE="gpu:0")
    assert process.wait(DEADLINE) == 2
    assert "sees no GPU where it should see GPU 0 alone" in process.log.read_text()


def test_a_run_that_alternates_is_judged_by_the_evaluator_of_its_turn_alone(volume, spec, commit, start):
    alternating = spec.model_copy(update={"sharing": AlternateSharing(kind="alternate", every_steps=100)})
    folder = volume.run("turns")
    write_record(folder.spec, alternating)
    commit("turns", 100)
    commit("beside", 100)
    assert start("--once").wait(DEADLINE) == 0
    assert volume.run("beside").verdict(100, EMA).exists()
    assert not folder.evaluations.exists()

    assert start("--once", "--run", "turns", "--device", "any").wait(DEADLINE) == 0
    assert read_record(folder.verdict(100, EMA), Verdict).status == "judged"
    (turn,) = [event for _, event in read_lines(folder.evaluator_events, Event)]
    assert (turn.kind, turn.details["done"]) == ("turn", True)
    assert turn.details["seconds"] > 0


def test_a_stop_in_the_middle_of_what_cannot_be_interrupted_gives_back_leases_and_ends_in_time(tmp_path):
    released, waiting = tmp_path / "released", tmp_path / "waiting"
    code = f"""
import time
from pathlib import Path
from services.evaluator.__main__ import leaving_in_time
from shared.lifecycle import StopEvent
stop = StopEvent()
stop.install()
with leaving_in_time(stop, Path({str(released)!r}).touch, grace_seconds=0.1):
    Path({str(waiting)!r}).touch()
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    until(waiting.exists, "started")
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    assert released.exists()


def test_a_bad_setting_ends_it_with_exit_code_2_and_names_the_variable(start):
    process = start(THREADS="none")
    assert process.wait(DEADLINE) == 2
    assert "TANDEM_EVALUATOR_THREADS" in process.log.read_text()


def test_a_volume_that_is_none_ends_it_with_exit_code_2_and_names_the_path(start, volume):
    volume.root.write_text("a file")
    process = start()
    assert process.wait(DEADLINE) == 2
    assert str(volume.root) in process.log.read_text()
