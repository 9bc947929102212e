"""The schedule of the soak, and that its checks notice what they are for."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from benchmarks.soak.descriptors import Descriptors, left_open
from benchmarks.soak.house import House, Member
from benchmarks.soak.load import Load
from benchmarks.soak.predictions import PICTURES, Predictions
from benchmarks.soak.processes import MARK, begun_for, held_open, listening_port, working_on
from benchmarks.soak.schedule import ACTIONS, Fault, schedule
from benchmarks.soak.scrapes import Scraper
from benchmarks.soak.verdict import orphans, troubles_of_run
from benchmarks.soak.watch import Watch
from shared.errors import CorruptCheckpointError
from shared.layout import RunFolder, Volume
from shared.records import Event, LineWriter, Verdict, write_record
from tests.processes.constant_models import export
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


def finished(root: Path, *, seed: int = 1, latest: int = 1) -> RunFolder:
    volume = Volume(root)
    trainer = Trainer(volume, volume.run(RUN))
    spec = small_spec(retention={"latest": latest, "best": 0}, seed=seed)
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
    assert troubles_of_run(folder, folder, readers=2) == []
    assert orphans(Volume(tmp_path)) == []


def test_each_broken_promise_is_a_trouble(tmp_path: Path):
    folder, undisturbed = finished(tmp_path / "one"), finished(tmp_path / "other")
    assert troubles_of_run(folder, undisturbed, readers=2) == []
    (folder.checkpoint(40) / "raw.safetensors").write_bytes(b"other")
    with pytest.raises(CorruptCheckpointError):
        troubles_of_run(folder, undisturbed, readers=2)
    (folder.checkpoint(40) / "raw.safetensors").write_bytes(
        (undisturbed.checkpoint(40) / "raw.safetensors").read_bytes()
    )
    lines = folder.series.read_text().splitlines(keepends=True)
    folder.series.write_text("".join(lines[:-1]))
    folder.verdict(40, "raw").unlink()
    (folder.checkpoints / ".tmp-50-1-abcd").mkdir()
    (folder.leases).mkdir()
    (folder.leases / "40.json").write_text("{}")
    assert troubles_of_run(folder, undisturbed, readers=2) == [
        "its series is not that of an undisturbed run at steps [40]",
        "there is no verdict on raw at step 40",
        "the last verdict on raw is not that on an undisturbed run",
    ]
    assert orphans(Volume(tmp_path / "one")) == [
        f"runs/{RUN}/checkpoints/.tmp-50-1-abcd",
        f"runs/{RUN}/leases/40.json",
    ]


def test_more_checkpoints_than_evaluators_can_have_kept_are_a_trouble(tmp_path: Path):
    folder = finished(tmp_path, latest=100)
    crowd = "its checkpoints are at [10, 20, 30, 40]"
    assert crowd in troubles_of_run(folder, folder, readers=1)
    assert crowd not in troubles_of_run(folder, folder, readers=2)


def test_a_trainer_that_died_though_nobody_asked_for_it_is_a_trouble(tmp_path: Path):
    folder = finished(tmp_path)
    folder.gateway_events.parent.mkdir()
    lines = LineWriter(folder.gateway_events)
    for code, message in ((-9, "killed"), (0, "asked"), (None, "not seen"), (1, "its trainer ended with 1")):
        lines.append(Event(time=0.0, service="gateway", kind="ended", message=message, details={"exit_code": code}))
    lines.close()
    assert troubles_of_run(folder, folder, readers=2) == ["nobody asked for it: its trainer ended with 1"]


def test_weights_that_another_run_would_not_have_are_a_trouble(tmp_path: Path):
    folder = finished(tmp_path / "one")
    other = finished(tmp_path / "other", seed=2)
    troubles = troubles_of_run(folder, other, readers=2)
    assert "raw.safetensors is not that of an undisturbed run" in troubles
    assert any("its series" in trouble for trouble in troubles)


def test_a_verdict_that_is_written_again_or_goes_and_a_newest_step_that_goes_back_are_troubles(tmp_path: Path):
    folder = finished(tmp_path)
    watch = Watch(volume=Volume(tmp_path))
    watch.look()
    watch.look()
    assert watch.troubles == []
    verdict = folder.verdict(40, "raw")
    verdict.with_suffix(".new").write_bytes(verdict.read_bytes())
    verdict.with_suffix(".new").rename(verdict)
    folder.checkpoint(40).rename(folder.checkpoint(30))
    watch.look()
    folder.verdict(40, "raw").unlink()
    watch.look()
    assert watch.troubles == [
        f"the newest checkpoint of {RUN} went from 40 back to 30",
        f"runs/{RUN}/evaluations/40/raw.json was written more than once",
        f"runs/{RUN}/evaluations/40/raw.json is gone",
    ]


def test_files_of_runs_and_removed_files_may_not_stay_open(tmp_path: Path):
    volume = Volume(tmp_path)
    (tmp_path / "runs").mkdir()
    with (tmp_path / "runs/lease").open("w"), (tmp_path / "gone").open("w"), (tmp_path / "log").open("w"):
        (tmp_path / "gone").unlink()
        held = held_open(os.getpid())
    assert left_open(volume, held) == [f"{tmp_path}/gone (deleted)", f"{tmp_path}/runs/lease"]
    assert left_open(volume, held_open(os.getpid())) == []


def test_what_a_trainer_had_open_at_most_is_remembered(tmp_path: Path):
    pids = [os.getpid(), os.getpid(), 0]
    house = SimpleNamespace(slots=["slot-0"], door=lambda slot: (pids.pop(0), None))
    descriptors = Descriptors(house=house)
    with contextlib.ExitStack() as files:
        for number in range(50):
            files.enter_context((tmp_path / str(number)).open("w"))
        descriptors.look()
    most = descriptors.most["slot-0"]
    assert most >= 50
    descriptors.look()
    descriptors.look()
    assert descriptors.most == {"slot-0": most}


def test_a_process_is_found_by_its_volume_and_by_the_port_it_listens_at(tmp_path: Path):
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print('there', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert [pid for pid, _ in working_on(tmp_path)] == [process.pid]
        assert [pid for pid, _ in begun_for(tmp_path)] == [process.pid]
        port = listening_port(process.pid)
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        process.stdin.close()
    assert list(working_on(tmp_path)) == []
    assert listening_port(process.pid) is None
    assert listening_port(1) is None or listening_port(1) != port


def test_a_process_that_was_begun_for_a_volume_is_found_though_its_command_line_does_not_name_it(tmp_path: Path):
    code = "print('there', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], env={MARK: str(tmp_path)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert [pid for pid, _ in begun_for(tmp_path)] == [process.pid]
        assert list(begun_for(tmp_path / "other")) == []
        process.communicate(b"\n")
    assert list(begun_for(tmp_path)) == []


def test_a_process_that_ends_though_nobody_asked_for_it_is_a_trouble(tmp_path: Path):
    house = House(volume=tmp_path, logs=tmp_path, port=0, metrics_ports=[], slots=0)
    member = Member(role="gateway", command=[sys.executable, "-c", ""], environment={}, log=tmp_path / "log")
    house.members = {"gateway": member}
    house.start()
    deadline = time.monotonic() + 30
    while not house.troubles:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    house.stop()
    assert house.troubles[0] == "gateway ended with 0, which nobody asked for"


def test_a_thread_that_breaks_down_is_a_trouble():
    class Broken(Load): ...

    def work() -> None:
        raise ValueError("what")

    load = Broken(work, lambda: None)
    load.start()
    load.stop()
    assert load.troubles == ["Broken broke down: ValueError('what')"]


KILL = Fault(at=0.0, role="gateway", action="kill", seconds=0.0)
STARVE = Fault(at=0.0, role="gateway", action="starve", seconds=5.0)


def test_a_process_is_disturbed_until_all_that_strikes_it_is_over_and_it_has_answered_since():
    member = Member(role="gateway", command=[], environment={}, log=Path("log"))
    later = time.monotonic() + 100
    assert not member.is_back
    member.answered()
    assert member.is_back
    assert member.is_undisturbed(0, later)
    member.struck(STARVE)
    member.answered()
    assert not member.is_undisturbed(0, later)
    member.over(STARVE)
    assert not member.is_back
    assert not member.is_undisturbed(0, later)
    member.answered()
    assert member.is_undisturbed(0, later)
    assert not member.is_undisturbed(1, later), "another process"
    assert not member.is_undisturbed(0, time.monotonic()), "what waits in it goes first"


class Answers:
    """In the place of the world: answers one after another, an exception for one that fails."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def get(self, _url: str) -> httpx.Response:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer[0], text=answer[1])


def test_a_counter_that_falls_and_a_scrape_that_fails_are_troubles_unless_a_fault_was_there():
    member = Member(role="gateway", command=[], environment={}, log=Path("log"))
    house = SimpleNamespace(members={"gateway": member}, slots=["slot-0"], door=lambda role: (7, 80))
    scraper = Scraper(house=house, addresses={"gateway": "http://gateway"})
    ask, broken = scraper._member, httpx.ConnectError("refused")
    world = Answers((200, "a_total 5.0\nb 9.0\n"), (200, "a_total 4.0\nb 1.0\n"), (500, ""), broken)
    for _ in range(4):
        ask(world, "gateway")
    assert scraper.troubles == [
        "gateway: a_total went from 5.0 back to 4.0",
        "gateway answered 500 to a scrape",
    ], "it has only just answered, so that its last failure is not held against it"
    member._undisturbed_since = 0.0
    ask(Answers(broken), "gateway")
    assert scraper.troubles[2:] == ["gateway could not be scraped: ConnectError('refused')"]
    member.struck(KILL)
    ask(Answers(broken), "gateway")
    ask(Answers((200, "a_total 1.0\n")), "gateway")
    member.incarnation += 1
    ask(Answers((200, "a_total 0.0\n")), "gateway")
    assert scraper.troubles[3:] == ["gateway: a_total went from 4.0 back to 1.0"]


def test_a_trainer_must_answer_while_its_port_is_open_and_its_counters_grow():
    doors = [(7, 80), (7, 80), (7, 80), (7, 80), (7, None), (8, 80), (0, None)]
    house = SimpleNamespace(members={}, slots=["slot-0"], door=lambda role: doors.pop(0))
    scraper = Scraper(house=house, addresses={})
    broken = httpx.ReadError("reset")
    world = Answers((200, "a_total 5.0\n"), broken, broken, (200, "a_total 1.0\n"))
    for _ in range(5):
        scraper._trainer(world, "slot-0")
    assert doors == []
    assert scraper.troubles == ["the trainer in slot-0 could not be scraped: ReadError('reset')"]
    assert scraper.scrapes == {"slot-0": 2}


def test_an_answer_that_is_not_what_its_model_computes_is_a_trouble(tmp_path: Path):
    volume = Volume(tmp_path)
    classes = tuple(f"class-{number}" for number in range(10))
    export(volume.run(RUN), 3, classes=classes, precision=0.5, shape=(32, 32, 3))
    member = Member(role="gateway", command=[], environment={}, log=Path("log"))
    house = SimpleNamespace(members={"gateway": member})
    predictions = Predictions(house=house, address="http://gateway", volume=volume)
    assert predictions.against_models() == ["no model that answered was there to be compared with"]
    right = np.full(10, 1.0)
    right[3] = np.exp(5.0)
    right /= right.sum()

    def answer(probabilities: np.ndarray) -> dict[str, Any]:
        listed = [{"label": label, "probability": p} for label, p in zip(classes, probabilities, strict=True)]
        return {"run": RUN, "step": 3, "weights": "ema", "predictions": [{"classes": listed}] * len(PICTURES)}

    predictions._compare(answer(right))
    assert predictions.against_models() == []
    predictions._compare(answer(np.roll(right, 1)))
    assert predictions.troubles == [f"two predictions that both name {(RUN, 3, 'ema')} differ"]
    predictions.said.clear()
    predictions._compare(answer(np.roll(right, 1)))
    shutil.rmtree(volume.run(RUN).export(3))
    (trouble,) = predictions.against_models()
    assert trouble.startswith(f"what {(RUN, 3, 'ema')} said differs from what it computes by 0.9")
