"""Trainer and evaluator take turns on one device: real processes, watched while they come and go."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.gateway.launchers.procfs import holders
from shared.layout import RunFolder, Volume
from shared.records import Event, Verdict, read_lines, read_record
from shared.spec import parse_spec
from tests.processes.test_gateway import GatewayProcess, gateway, volume, wait_for  # noqa: F401
from tests.processes.trainers import REAL, bytes_at, make_run, training

SECONDS = 300.0
SPEC: dict[str, Any] = {
    "name": "turns",
    "steps": 40,
    "batch_size": 4,
    "dataset": {"kind": "shapes", "train_examples": 100, "test_examples": 20},
    "augment": {"crop": 8},
    "model": {"name": "resnet-small", "options": {"width": 4}},
    "learning_rate": {"kind": "constant", "rate": 0.01},
    "cadence": {"log_steps": 10, "checkpoint_steps": 10},
}


class Watcher:
    """Notes which programs are in a slot, as often as it can."""

    def __init__(self, lock: Path) -> None:
        self._lock = lock
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seen: list[tuple[str, ...]] = []
        self.pids: dict[str, set[int]] = {"trainer": set(), "evaluator": set()}

    def _run(self) -> None:
        while not self._done.wait(0.01):
            found = tuple(sorted(self._programs()))
            if not self.seen or self.seen[-1] != found:
                self.seen.append(found)

    def _programs(self) -> Iterator[str]:
        for process in holders(self._lock):
            try:
                command = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            for name in ("trainer", "evaluator"):
                # What is about to become an evaluator is a trainer's program that has not imported TensorFlow.
                maps = self._maps(process.pid) if name == "trainer" else "tensorflow"
                if f"services.{name}" in command and "tensorflow" in maps:
                    self.pids[name].add(process.pid)
                    yield name

    def _maps(self, pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/maps").read_text()
        except OSError:
            return ""

    @contextmanager
    def watching(self) -> Iterator["Watcher"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._done.set()
            self._thread.join()


def ends(folder: RunFolder) -> list[Event]:
    return [event for _, event in read_lines(folder.gateway_events, Event) if event.kind == "ended"]


@pytest.mark.slow
def test_trainer_and_evaluator_take_turns_and_the_result_is_that_of_an_uninterrupted_run(
    gateway: Callable[..., GatewayProcess],  # noqa: F811
    volume: Path,  # noqa: F811
) -> None:
    real = "{python} -m services.trainer --volume {volume} --slot {slot}"
    settings = {"TANDEM_GATEWAY_TRAINER_COMMAND": real, "TANDEM_TRAINER_THREADS": "1"}
    there = gateway(**settings).ready()
    alternate = {"sharing": {"kind": "alternate", "every_steps": 20}}
    watcher = Watcher(volume / "gateway" / "slots" / "slot-0.lock")
    with watcher.watching():
        run = str(there.post("/v1/runs", {"spec": SPEC | alternate})["id"])
        folder = Volume(volume).run(run)
        wait_for(lambda: watcher.pids["evaluator"], seconds=SECONDS)
        assert there.run(run)["state"] == "evaluating"
        there.end(signal.SIGKILL)  # the circle goes on without it, and with the next one
        there = gateway(**settings).ready()
        wait_for((folder.evaluations / "40").exists, seconds=SECONDS)
        wait_for(lambda: not holders(volume / "gateway" / "slots" / "slot-0.lock"), seconds=SECONDS)
    wait_for(
        lambda: [end.details["outcome"] for end in ends(folder)] == ["yielded", "evaluated", "completed", "evaluated"]
    )
    view = there.run(run)
    assert view["state"] == "completed"

    assert ("evaluator", "trainer") not in watcher.seen
    order = [seen[0] for seen in watcher.seen if seen]
    assert [name for name, before in zip(order, ["", *order], strict=False) if name != before] == [
        "trainer",
        "evaluator",
        "trainer",
        "evaluator",
    ]
    assert {name: len(pids) for name, pids in watcher.pids.items()} == {"trainer": 2, "evaluator": 2}
    for step in (10, 20, 30, 40):
        assert read_record(folder.verdict(step, "ema-0.9999"), Verdict).status == "judged"
    yielded = [event for _, event in read_lines(folder.trainer_events, Event) if event.kind == "yielded"]
    assert [event.step for event in yielded] == [20]
    assert (view["sharing"]["periods"], view["best"] is not None) == (1, True)
    shares = view["sharing"]["training"] + view["sharing"]["evaluating"] + view["sharing"]["switching"]
    assert shares == pytest.approx(1, abs=0.001)

    whole = make_run(Volume(volume), "whole", parse_spec(SPEC, source="test"))
    with training(Volume(volume), "--run", "whole", program=REAL, TANDEM_TRAINER_THREADS="1") as trainer:
        assert trainer.end(seconds=SECONDS) == 0, trainer.text()
    assert bytes_at(folder, 40) == bytes_at(whole, 40)
