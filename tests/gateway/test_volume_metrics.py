from prometheus_client import CollectorRegistry

from services.gateway.metrics import add_volume_metrics


def test_the_volume_tells_its_size_and_what_is_free(tmp_path):
    registry = CollectorRegistry()
    add_volume_metrics(registry, volume=tmp_path)
    size = registry.get_sample_value("tandem_volume_size_bytes")
    free = registry.get_sample_value("tandem_volume_free_bytes")
    assert 0 < free < size
