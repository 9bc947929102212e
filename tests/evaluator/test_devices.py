import sys

import pytest

from services.evaluator.devices import hide_gpus, refuse_gpus
from shared.errors import SettingsError


def test_f43_every_gpu_is_hidden_whatever_the_environment_said():
    environment = {"CUDA_VISIBLE_DEVICES": "0,1", "HIP_VISIBLE_DEVICES": "0"}
    hide_gpus(environment, threads=3, modules={})
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert environment["HIP_VISIBLE_DEVICES"] == "-1"
    assert environment["TF_NUM_INTRAOP_THREADS"] == "3"


def test_hiding_after_tensorflow_was_imported_is_refused():
    environment = {}
    with pytest.raises(SettingsError, match="before the GPUs were hidden"):
        hide_gpus(environment, threads=1, modules={"tensorflow": sys})
    assert environment == {}


def test_f43_a_gpu_that_is_visible_all_the_same_is_refused():
    with pytest.raises(SettingsError, match="GPU:0, and an evaluator must not touch a GPU"):
        refuse_gpus(lambda: ["/physical_device:GPU:0"])
    refuse_gpus(list)
