from prometheus_client import CollectorRegistry

from services.trainer.gpu import Gpus
from tests.trainer.fake_nvml import fake_nvml


def registry_of(gpus: Gpus) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(gpus)
    return registry


def test_memory_and_utilization_of_each_gpu_are_told():
    registry = registry_of(Gpus(nvml=fake_nvml()))
    assert registry.get_sample_value("tandem_gpu_memory_used_bytes", {"gpu": "1"}) == 2e9
    assert registry.get_sample_value("tandem_gpu_memory_total_bytes", {"gpu": "0"}) == 24e9
    assert registry.get_sample_value("tandem_gpu_utilization_ratio", {"gpu": "1"}) == 0.51


def test_a_gpu_that_does_not_answer_is_left_out_and_the_others_are_told():
    registry = registry_of(Gpus(nvml=fake_nvml(broken=frozenset({0}))))
    assert registry.get_sample_value("tandem_gpu_memory_used_bytes", {"gpu": "0"}) is None
    assert registry.get_sample_value("tandem_gpu_memory_used_bytes", {"gpu": "1"}) == 2e9
