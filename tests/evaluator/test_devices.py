import sys

import pytest

from services.evaluator.devices import EvaluationDevice
from shared.errors import SettingsError

GPU = "/physical_device:GPU:0"


def test_on_the_processor_every_gpu_is_hidden_whatever_the_environment_said():
    environment = {"CUDA_VISIBLE_DEVICES": "0,1", "HIP_VISIBLE_DEVICES": "0"}
    EvaluationDevice.parse("cpu").prepare(environment, threads=3, modules={})
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert environment["HIP_VISIBLE_DEVICES"] == "-1"
    assert environment["TF_NUM_INTRAOP_THREADS"] == "3"


@pytest.mark.parametrize("text", ["cpu", "gpu:0", "any"])
def test_preparing_after_tensorflow_was_imported_is_refused(text):
    environment = {}
    with pytest.raises(SettingsError, match="before the GPUs were hidden"):
        EvaluationDevice.parse(text).prepare(environment, threads=1, modules={"tensorflow": sys})
    assert environment == {}


def test_on_the_processor_a_gpu_that_is_visible_all_the_same_is_refused():
    with pytest.raises(SettingsError, match="GPU:0, and an evaluator on the processor must not touch a GPU"):
        EvaluationDevice.parse("cpu").check(lambda: [GPU])
    EvaluationDevice.parse("cpu").check(list)


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, "1"), ("0,1", "1"), ("3, 5", "5"), ("GPU-8a,GPU-9b", "GPU-9b")],
)
def test_a_gpu_of_its_own_is_counted_among_those_that_the_environment_leaves(before, after):
    environment = {} if before is None else {"CUDA_VISIBLE_DEVICES": before}
    EvaluationDevice.parse("gpu:1").prepare(environment, threads=1, modules={})
    assert environment["CUDA_VISIBLE_DEVICES"] == after
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


@pytest.mark.parametrize("visible", ["", "-1", "0"])
def test_a_gpu_that_the_environment_hides_is_refused_by_name(visible):
    with pytest.raises(SettingsError, match=f"GPU 1 is none of those that CUDA_VISIBLE_DEVICES={visible} leaves"):
        EvaluationDevice.parse("gpu:1").prepare({"CUDA_VISIBLE_DEVICES": visible}, threads=1, modules={})


def test_a_gpu_of_its_own_must_be_the_only_one_that_is_seen():
    device = EvaluationDevice.parse("gpu:1")
    device.check(lambda: [GPU])
    with pytest.raises(SettingsError, match="sees no GPU where it should see GPU 1 alone"):
        device.check(list)
    with pytest.raises(SettingsError, match="GPU:0, GPU:1 where it should see GPU 1 alone"):
        device.check(lambda: ["GPU:0", "GPU:1"])


def test_in_its_turn_it_takes_whatever_is_there():
    environment = {"CUDA_VISIBLE_DEVICES": "0"}
    device = EvaluationDevice.parse("any")
    device.prepare(environment, threads=1, modules={})
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"
    device.check(lambda: [GPU])
    device.check(list)


@pytest.mark.parametrize("text", ["", "gpu", "gpu:", "gpu:-1", "gpu:x", "CPU", "cuda:0"])
def test_what_is_no_place_is_refused(text):
    with pytest.raises(SettingsError, match="nothing to judge on"):
        EvaluationDevice.parse(text)
