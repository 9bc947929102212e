"""Aliases of exports and runs that vanish, are damaged, or cannot be written about."""

import logging
import os
import threading
from typing import Any

import pytest

from services.gateway.predict.aliases import BEST, LATEST, set_by_hand
from services.gateway.predict.models import OnnxLoader
from shared.errors import ConflictError, NotFoundError
from shared.locks import exports_lock
from shared.records import Aliases, Canary, read_record
from tests.gateway.predict.asking import A, B, asked, order, place, points


def spoil(models: Any, step: int) -> None:
    (models.volume.run(A).export(step) / "model.onnx").write_bytes(b"spoilt")


def lose(models: Any, step: int) -> None:
    exports = models.volume.run(A).exports
    (exports / str(step)).rename(exports / f".trash-{step}")


def test_aliases_of_exports_that_vanish_go_back_or_end(models: Any, serving: Any, make_serving: Any) -> None:
    for step in (10, 30):
        place(serving, "stable", step)
    place(serving, "mine", 30)
    serving.predictor.stop()
    for step in (20, 30):
        lose(models, step)
    again = make_serving()
    assert points(again) == {BEST: 10, LATEST: 10, "stable": 10}
    assert (A, "stable: back to step 10: the export of step 30 is gone") in again.told
    assert (A, "mine: points at nothing any more: the export of step 30 is gone") in again.told
    assert asked(again, "stable") == {10: 1}


def test_an_alias_whose_export_is_damaged_goes_back_when_it_is_asked(
    models: Any, serving: Any, make_serving: Any
) -> None:
    for step in (10, 30):
        place(serving, "stable", step)
    serving.predictor.stop()
    spoil(models, 30)
    again = make_serving()
    assert asked(again, "stable") == {10: 1}
    assert points(again)["stable"] == 10


def test_a_canary_that_is_damaged_ends_and_nobody_notices(models: Any, serving: Any, make_serving: Any) -> None:
    order(serving, lambda promotion, run: promotion.try_out(run, BEST, Canary(step=30, share=0.999), reason="try"))
    serving.predictor.stop()
    spoil(models, 30)
    again = make_serving()
    assert asked(again, A, 3) == {20: 3}
    assert read_record(models.volume.run(A).aliases, Aliases).aliases[BEST].canary is None


def test_aliases_that_cannot_be_read_are_left_alone_and_the_best_answers_all_the_same(
    models: Any, serving: Any, make_serving: Any
) -> None:
    path = models.volume.run(A).aliases
    path.write_text('{"schema_version": 99}')
    again = make_serving()
    assert asked(again, A) == {20: 1}
    assert again.predictor.why_not_ready() is None
    with pytest.raises(ConflictError, match="not replaced"):
        place(again, "stable", 10)
    assert path.read_text() == '{"schema_version": 99}'


def test_latest_whose_export_is_damaged_moves_to_the_newest_that_answers(
    models: Any, serving: Any, make_serving: Any
) -> None:
    serving.predictor.stop()
    spoil(models, 30)
    again = make_serving()
    assert asked(again, "latest") == {20: 1}
    assert points(again)[LATEST] == 20


def test_an_alias_of_an_export_that_is_in_memory_alone_ends_with_it(models: Any, make_serving: Any) -> None:
    for step, precision in ((10, 0.5), (20, 0.8), (30, 0.6)):
        models.export(A, step, precision=precision)
    serving = make_serving(max_loaded=2)
    place(serving, "mine", 10)
    lose(models, 10)
    serving.predictor.refresh()
    assert asked(serving, "mine") == {10: 1}, "it is in memory"
    assert points(serving)["mine"] == 10
    assert asked(serving, A) == {20: 1}
    assert asked(serving, "run@30") == {30: 1}
    assert points(serving) == {BEST: 20, LATEST: 30}
    assert (A, "mine: points at nothing any more: the export of step 10 is gone") in serving.told


def test_a_run_that_is_deleted_while_its_alias_moves_does_not_come_back(models: Any, make_serving: Any) -> None:
    real, folder = OnnxLoader(threads=1, largest_batch=2), models.volume.run(B)

    def load(export: Any) -> Any:
        model = real(export)
        if export.manifest.step == 40:
            folder.root.rename(models.volume.runs / ".trash-b")
        return model

    models.export(A, 10)
    models.export(B, 20)
    serving = make_serving(load=load)
    for run, step in ((A, 10), (B, 20)):
        place(serving, "stable", step, run=run)
    assert asked(serving, "stable") == {20: 1}
    models.export(B, 40, precision=0.9)
    serving.predictor.refresh()
    assert not folder.root.exists()
    serving.predictor.refresh()
    assert asked(serving, "stable") == {10: 1}, "it is the older run's now"
    assert asked(serving, "best") == {10: 1}


@pytest.mark.parametrize("restarted", [False, True])
def test_aliases_of_a_run_without_exports_end_so_that_it_can_be_deleted(
    models: Any, serving: Any, make_serving: Any, restarted: bool
) -> None:
    place(serving, "stable", 10)
    assert set_by_hand(models.volume.run(A)) == {"stable": 10}
    for step in (10, 20, 30):
        lose(models, step)
    if restarted:
        serving.predictor.stop()
        make_serving()
    else:
        serving.predictor.refresh()
    assert points(serving) == {}
    assert set_by_hand(models.volume.run(A)) == {}


def test_aliases_that_cannot_be_read_are_told_once_and_nothing_is_loaded_in_turns(
    models: Any, serving: Any, make_serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    models.volume.run(A).aliases.write_text('{"schema_version": 99}')
    real, loads = OnnxLoader(threads=1, largest_batch=2), []

    def load(export: Any) -> Any:
        loads.append(export.manifest.step)
        return real(export)

    with caplog.at_level(logging.ERROR):
        again = make_serving(load=load, max_loaded=1)
        for _ in range(5):
            again.predictor.refresh()
    assert loads == [20]
    assert [record.getMessage() for record in caplog.records if "stay" in record.getMessage()] == [
        f"the aliases of run {A} stay where they are: {models.volume.run(A).aliases}: cannot be read, "
        "so it is not replaced"
    ]


def test_on_a_full_disk_aliases_stay_and_models_answer(
    models: Any, serving: Any, make_serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(serving, "mine", 30)
    serving.predictor.stop()
    lose(models, 30)
    spoil(models, 20)
    rename = os.rename

    def full(source: Any, target: Any) -> None:
        if str(target).endswith("aliases.json"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        again = make_serving()
        assert asked(again, A) == {10: 1}
        assert points(again) == {BEST: 20, LATEST: 30, "mine": 30}
    again.predictor.refresh()
    assert points(again) == {BEST: 10, LATEST: 10}


def test_an_alias_is_not_set_in_a_run_that_is_deleted_in_this_moment(models: Any, serving: Any) -> None:
    folder = models.volume.run(A)

    def put() -> None:
        try:
            place(serving, "stable", 10)
        except NotFoundError as error:
            refused.append(str(error))

    place(serving, "mine", 10)
    refused: list[str] = []
    setting = threading.Thread(target=put)
    with exports_lock(folder):  # as the one who deletes it
        setting.start()
        setting.join(0.3)
        assert setting.is_alive(), "it waits"
        folder.root.rename(models.volume.runs / ".trash-a")
    setting.join(10)
    assert "was removed in this moment" in refused[0]
    assert not folder.root.exists()
    serving.predictor.refresh()
    assert set(serving.predictor.catalog().runs) == set()
