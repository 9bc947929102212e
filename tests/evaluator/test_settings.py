import pytest

from services.evaluator.settings import EvaluatorSettings
from shared.errors import SettingsError
from shared.settings import load_settings


def test_the_defaults_are_polite(monkeypatch):
    settings = load_settings(EvaluatorSettings)
    assert settings.evaluator_nice == 10
    assert settings.evaluator_threads >= 1
    assert settings.evaluator_device == "cpu"
    assert settings.evaluator_policy == "newest-first"
    assert settings.evaluator_metrics_port is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TANDEM_EVALUATOR_THREADS", "0"),
        ("TANDEM_EVALUATOR_NICE", "-5"),
        ("TANDEM_EVALUATOR_POLICY", "sometimes"),
        ("TANDEM_EVALUATOR_POLICY", "every:0"),
        ("TANDEM_EVALUATOR_DEVICE", "gpu"),
        ("TANDEM_EVALUATOR_NAME", "a/b"),
        ("TANDEM_EVALUATOR_METRICS_PORT", "70000"),
    ],
)
def test_a_bad_value_names_its_variable(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        load_settings(EvaluatorSettings)
