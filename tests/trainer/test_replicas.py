"""Training on several devices, tried in a process that divides its processor into four."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.trainer.devices import visible_devices
from services.trainer.engine import Groups
from services.trainer.replicas import choose_replicas
from shared.checkpoints import spec_digest
from shared.errors import SpecError
from shared.spec import parse_spec
from tests.trainer import resume

ROOT = Path(__file__).parents[2]
TUTORIAL = {"batch_size": 8, "steps": 200, "augment": {"crop": 8}}
BATCH_NORMALISED = {
    "batch_size": 8,
    "steps": 200,
    "augment": {"crop": None, "pad": 2},
    "model": {"name": "resnet-small", "options": {"width": 2}},
    "optimizer": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "label_smoothing": 0.1},
    "learning_rate": {"kind": "one-cycle", "peak": 0.05},
    "ema": {"decays": [0.9999, 0.9]},
}
TWO = ["CPU:0", "CPU:2"]
PLAN: list[dict[str, Any]] = [
    {"name": "one", "spec": TUTORIAL, "stops": [6, 12], "look": True},
    {"name": "two", "spec": {**TUTORIAL, "devices": TWO}, "stops": [6, 12], "look": True},
    {"name": "two-again", "spec": {**TUTORIAL, "devices": TWO}, "stops": [12], "after": "two-6"},
    {"name": "four-after-two", "spec": {**TUTORIAL, "devices": "all"}, "stops": [12], "after": "two-6"},
    {"name": "normalised-one", "spec": {**BATCH_NORMALISED, "devices": ["CPU:3"]}, "stops": [8]},
    {"name": "normalised-four", "spec": {**BATCH_NORMALISED, "devices": "all"}, "stops": [8]},
    {"name": "half-one", "spec": {**TUTORIAL, "precision": "mixed_float16"}, "stops": [3]},
    {"name": "half-two", "spec": {**TUTORIAL, "precision": "mixed_float16", "devices": TWO}, "stops": [3]},
    {"name": "compiled", "spec": {**TUTORIAL, "xla": True, "devices": "all"}, "stops": []},
    {"name": "odd", "spec": {**TUTORIAL, "batch_size": 6, "devices": "all"}, "stops": []},
]


class Outcome:
    def __init__(self, folder: Path) -> None:
        self.told = json.loads((folder / "told.json").read_text())
        self._folder = folder

    def losses(self, name: str) -> list[float]:
        losses: list[float] = self.told[name]["losses"]
        return losses

    def groups(self, name: str) -> Groups:
        return resume.read_groups(self._folder / name)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("mirrored")
    (folder / "plan.json").write_text(json.dumps(PLAN))
    command = [sys.executable, "-m", "tests.trainer.mirrored", str(folder / "plan.json"), str(folder)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert process.returncode == 0, process.stderr
    return Outcome(folder)


def assert_close(found: Groups, expected: Groups, *, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for kind, arrays in expected.items():
        assert found[kind].keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_allclose(
                found[kind][name], array, rtol=tolerance, atol=tolerance, err_msg=f"{kind} {name}"
            )


@pytest.mark.slow
def test_several_devices_learn_what_one_learns_from_the_same_global_batch(outcome: Outcome) -> None:
    one = outcome.losses("one")
    assert outcome.losses("two") == pytest.approx(one, rel=1e-5)
    assert outcome.losses("four-after-two") == pytest.approx(one[6:], rel=1e-5)
    assert outcome.told["two"]["average_loss"] == pytest.approx(outcome.told["one"]["average_loss"], rel=1e-5)
    assert_close(outcome.groups("two-12"), outcome.groups("one-12"), tolerance=1e-5)
    assert len({round(loss, 3) for loss in one}) > 6, "the losses move, so that equal ones mean something"


@pytest.mark.slow
def test_batch_normalisation_sees_the_global_batch_however_many_devices_share_it(outcome: Outcome) -> None:
    assert outcome.losses("normalised-four") == pytest.approx(outcome.losses("normalised-one"), rel=1e-4)
    assert_close(outcome.groups("normalised-four-8"), outcome.groups("normalised-one-8"), tolerance=1e-4)


@pytest.mark.slow
def test_on_the_same_devices_a_run_goes_on_with_the_same_bits(outcome: Outcome) -> None:
    whole, resumed = outcome.groups("two-12"), outcome.groups("two-again-12")
    for kind, arrays in whole.items():
        for name, array in arrays.items():
            assert array.tobytes() == resumed[kind][name].tobytes(), f"{kind} {name}"
    assert outcome.losses("two-again") == outcome.losses("two")[6:]


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices_than_it_began_with(outcome: Outcome) -> None:
    assert_close(outcome.groups("four-after-two-12"), outcome.groups("one-12"), tolerance=1e-5)


@pytest.mark.slow
def test_gradients_can_be_looked_at_on_several_devices(outcome: Outcome) -> None:
    # Of the whole batch, though each device has only ever seen its part.
    assert outcome.told["two"]["gradients"] == pytest.approx(outcome.told["one"]["gradients"], rel=1e-3)


@pytest.mark.slow
def test_the_devices_that_share_the_work_are_told(outcome: Outcome) -> None:
    assert outcome.told["devices"] == ["CPU:0", "CPU:1", "CPU:2", "CPU:3"]
    names = {name: outcome.told[name]["numerics"]["devices"] for name in ("one", "two", "normalised-one")}
    assert names == {"one": "CPU:0", "two": "CPU:0 CPU:2", "normalised-one": "CPU:3"}
    assert outcome.told["normalised-four"]["numerics"]["devices"] == "CPU:0 CPU:1 CPU:2 CPU:3"


@pytest.mark.slow
def test_several_devices_share_a_batch_in_half_precision_too(outcome: Outcome) -> None:
    assert outcome.losses("half-two") == pytest.approx(outcome.losses("half-one"), rel=0.02)
    assert outcome.groups("half-two-3")["optimizer"]["loss_scale/good_steps"] == 3


@pytest.mark.slow
def test_a_step_for_several_devices_is_not_compiled(outcome: Outcome) -> None:
    assert outcome.told["compiled"]["error"].startswith("xla: a step is compiled for one device, and CPU:0, CPU:1")


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_evenly_is_refused(outcome: Outcome) -> None:
    assert outcome.told["odd"]["error"].startswith("batch_size: is 6, which 4 devices (CPU:0, CPU:1, CPU:2, CPU:3)")


def test_a_device_that_is_not_there_is_named_beside_those_that_are() -> None:
    here = ", ".join(device.name for device in visible_devices())
    with pytest.raises(SpecError, match=f"devices: there is no CPU:7. This machine has {here}"):
        choose_replicas(["CPU:0", "CPU:7"], batch_size=8)


@pytest.mark.parametrize(
    ("devices", "complaint"),
    [
        (["gpu0"], "devices"),
        (["GPU:0", "GPU:0"], "name each device once"),
        ([], "name each device once"),
        (["GPU:0", "CPU:0"], "name devices of one kind"),
        ("some", "devices"),
    ],
)
def test_devices_that_make_no_sense_are_refused_in_the_spec(devices: Any, complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        parse_spec({"devices": devices}, source="test")


def test_other_devices_are_no_other_training() -> None:
    assert spec_digest(parse_spec({"devices": "all"}, source="test")) == spec_digest(parse_spec({}, source="test"))
