import dataclasses
import threading

import pytest
from prometheus_client import CollectorRegistry

from services.gateway.app import create_app
from services.gateway.predict.settings import PredictSettings
from services.gateway.predict.wiring import Predicting
from shared.errors import SettingsError
from shared.settings import load_settings
from tests.gateway.predict.asking import A
from tests.gateway.predict.pictures import encoded, noise


def test_wired_parts_answer_and_leave_no_thread_behind(models, bench) -> None:
    models.export(A, 3)
    before = set(threading.enumerate())
    registry = CollectorRegistry()
    predicting = Predicting(
        settings=PredictSettings(), volume=models.volume, registry=registry, tell=lambda *_, **__: None
    )
    app = create_app(
        dataclasses.replace(bench.parts, predictor=predicting.predictor),
        registry=registry,
        routers=predicting.routers(),
    )
    predicting.install(app)
    predicting.start()
    try:
        answer = bench.client_of(app).post(
            "/v1/models/best:classify", content=encoded(noise(300, 400), "JPEG"), headers={"content-type": "image/jpeg"}
        )
        assert (answer.status_code, answer.json()["step"]) == (200, 3)
    finally:
        predicting.stop()
    assert set(threading.enumerate()) == before


def test_bad_setting_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_PREDICT_MAX_BATCH", "0")
    with pytest.raises(SettingsError, match="TANDEM_PREDICT_MAX_BATCH"):
        load_settings(PredictSettings)
