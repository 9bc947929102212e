"""What `docs/predict.md` says of settings, metrics and codes is all there is, and true."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.gateway.errors import status_of
from services.gateway.predict.metrics import PredictMetrics
from services.gateway.predict.settings import PredictSettings
from shared import errors
from shared.settings import PREFIX

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "predict.md").read_text(encoding="utf-8")
RAISED = [
    errors.ImageFormatError,
    errors.ImageTooLargeError,
    errors.ImageTruncatedError,
    errors.ImageCorruptError,
    errors.ImageAnimatedError,
    errors.InputError,
    errors.InstancesError,
    errors.MediaTypeError,
    errors.BodyTooLargeError,
    errors.BodyTimeoutError,
    errors.NotFoundError,
    errors.UnavailableError,
    errors.OverloadedError,
    errors.DeadlineError,
    errors.InferenceError,
    errors.NotFiniteError,
]


def test_every_setting_of_predicting_is_documented_and_no_other() -> None:
    settings = {PREFIX + name.upper() for name in PredictSettings.model_fields if name.startswith("predict_")}
    assert set(re.findall(r"^\| `(TANDEM_\w+)`", PAGE, re.MULTILINE)) == settings


def test_every_metric_of_predicting_is_documented_and_no_other() -> None:
    registry = CollectorRegistry()
    PredictMetrics(registry)
    metrics = {family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()}
    assert set(re.findall(r"^\| `(tandem_\w+)`", PAGE, re.MULTILINE)) == metrics


@pytest.mark.parametrize("kind", RAISED)
def test_code_of_an_error_is_documented_with_its_status(kind: type[errors.TandemError]) -> None:
    assert f"| `{kind.code}` | {status_of(kind('wrong'))} |" in PAGE
