from prometheus_client import CollectorRegistry

from services.gateway.predict.metrics import KEPT_VERSIONS, PredictMetrics


def test_label_sets_stay_bounded_however_many_versions_answer() -> None:
    registry = CollectorRegistry()
    metrics = PredictMetrics(registry)
    for step in range(10 * KEPT_VERSIONS):
        for status in (200, 422):
            metrics.answered(version=("best", str(step), "ema"), status=status, seconds=0.001)
    family = next(family for family in registry.collect() if family.name == "tandem_predict_requests")
    versions = {sample.labels["version"] for sample in family.samples}
    assert len(versions) == KEPT_VERSIONS
    assert str(10 * KEPT_VERSIONS - 1) in versions
