"""When aliases move, when they do not, and that they never point at what cannot answer."""

import asyncio
from typing import Any

import numpy as np
import pytest

from services.gateway.predict.aliases import BEST, LATEST
from services.gateway.predict.models import OnnxLoader
from shared import atomic
from shared.answers import Answers, encode_answers, file_record
from shared.errors import CorruptExportError, NotFoundError
from shared.records import Aliases, Verdict, read_record, write_record
from shared.spec import RunSpec
from tests.gateway.predict.asking import A, B, asked, order, place, points

KIND = "ema-0.9999"


def test_best_and_latest_move_by_themselves_and_are_written_down_with_their_reasons(models: Any, serving: Any) -> None:
    assert points(serving) == {BEST: 20, LATEST: 30}
    models.export(A, 40, precision=0.9)
    serving.predictor.refresh()
    assert points(serving) == {BEST: 40, LATEST: 40}
    assert (A, "best: precision at 1 is 0.9000, was 0.8000") in serving.told
    assert serving.metric("tandem_alias_step", run=A, alias="best") == 40
    models.export(A, 50, precision=0.9)
    serving.predictor.refresh()
    assert points(serving) == {BEST: 40, LATEST: 50}, "nothing is better about the same precision"


def test_aliases_are_where_they_were_after_a_restart(models: Any, serving: Any, make_serving: Any) -> None:
    told = len(serving.told)
    again = make_serving()
    assert again.told == []
    assert points(again) == {BEST: 20, LATEST: 30}
    assert asked(again, A) == {20: 1}
    assert len(serving.told) == told


def test_no_alias_moves_to_an_export_that_fails_its_warm_up(models: Any, serving: Any) -> None:
    models.export(A, 40, precision=0.9, data=b"no model")
    serving.predictor.refresh()
    assert points(serving) == {BEST: 20, LATEST: 30}


def test_a_name_an_id_and_aliases_are_asked_alike(serving: Any) -> None:
    assert asked(serving, A) == asked(serving, "best") == asked(serving, "run") == {20: 1}
    assert asked(serving, "latest") == asked(serving, f"{A}@latest") == asked(serving, A, label="latest") == {30: 1}
    assert asked(serving, "run@10") == {10: 1}
    with pytest.raises(NotFoundError, match="there is no alias 'stable'"):
        asked(serving, A, label="stable")


def test_an_older_runs_aliases_answer_while_a_newer_run_has_none_of_that_name(models: Any, serving: Any) -> None:
    place(serving, "stable", 10)
    models.export(B, 5, precision=0.1)
    serving.predictor.refresh()
    assert asked(serving, "stable") == {10: 1}
    assert asked(serving, "best") == {5: 1}
    place(serving, "stable", 5, run=B)
    assert asked(serving, "stable") == {5: 1}
    assert asked(serving, f"{A}@stable") == {10: 1}


def judged(models: Any, step: int, correct: int, *, examples: int = 200, first: int = 0) -> None:
    """A verdict with `correct` right answers from the example `first` on."""
    right = np.zeros(examples, bool)
    right[first : first + correct] = True
    folder = models.volume.run(A)
    data = encode_answers(Answers(right.astype(np.uint8), right, "d"), run=A, step=step, kind=KIND)
    atomic.replace_file(folder.answers(step, KIND), data)
    verdict = Verdict(run=A, step=step, weights="ema", decay=0.9999, answers=file_record(data), time=0)
    write_record(folder.verdict(step, KIND), verdict)


def test_a_run_may_ask_for_significance(models: Any, make_serving: Any) -> None:
    write_record(models.volume.run(A).spec, RunSpec(name="run", promotion="significant"))
    models.export(A, 10, precision=0.5)
    serving = make_serving()
    assert points(serving)[BEST] == 10, "the first has nothing to be compared with"
    judged(models, 10, 100)
    models.export(A, 20, precision=0.515)
    judged(models, 20, 103)
    serving.predictor.refresh()
    assert points(serving)[BEST] == 10, "three more right answers may be chance"
    models.export(A, 30, precision=0.55)
    serving.predictor.refresh()
    assert points(serving)[BEST] == 10, "its verdict is not there yet"
    judged(models, 30, 110)
    serving.predictor.refresh()
    assert points(serving)[BEST] == 30
    assert any("McNemar's test: p = 0.002" in message for _, message in serving.told)


def test_a_higher_precision_on_other_examples_is_not_significant(models: Any, make_serving: Any) -> None:
    write_record(models.volume.run(A).spec, RunSpec(name="run", promotion="significant"))
    models.export(A, 10, precision=0.5)
    serving = make_serving()
    judged(models, 10, 100)
    models.export(A, 20, precision=0.9)
    judged(models, 20, 90, examples=100)
    serving.predictor.refresh()
    assert points(serving)[BEST] == 10


def test_a_load_that_failed_for_a_moment_does_not_lose_best_for_ever(models: Any, make_serving: Any) -> None:
    real, broken, now = OnnxLoader(threads=1, largest_batch=2), [False], [0.0]

    def load(export: Any) -> Any:
        if broken[0] and export.manifest.step == 20:
            raise CorruptExportError("too many open files", where="model.onnx")
        return real(export)

    for step, precision in ((10, 0.5), (20, 0.8)):
        models.export(A, step, precision=precision)
    make_serving().predictor.stop()
    broken[0] = True
    serving = make_serving(load=load, clock=lambda: now[0])
    assert asked(serving, A) == {10: 1}
    broken[0], now[0] = False, 31.0
    serving.predictor.refresh()
    assert asked(serving, A) == {20: 1}


def test_putting_an_alias_where_it_is_does_not_lose_what_it_would_roll_back_to(models: Any, serving: Any) -> None:
    for step in (10, *[30] * 25):
        place(serving, "stable", step)
    assert read_record(models.volume.run(A).aliases, Aliases).steps == {10, 20, 30}
    order(serving, lambda promotion, run: promotion.roll_back(run, "stable", reason="back"))
    assert points(serving)["stable"] == 10


def test_who_sets_an_alias_learns_what_became_of_it_though_another_ends_it_at_once(serving: Any) -> None:
    async def both() -> Any:
        change, catalog = serving.predictor.change, serving.predictor.catalog()
        put = asyncio.ensure_future(
            change(lambda promotion, _: promotion.place(catalog.run(A), "mine", step=10, pinned=None, reason="x"))
        )
        ended = asyncio.ensure_future(change(lambda promotion, _: promotion.remove(catalog.run(A), "mine", reason="y")))
        await asyncio.sleep(0)
        await asyncio.to_thread(serving.predictor.refresh)
        await ended
        return await put

    assert asyncio.run(both()).step == 10
    assert "mine" not in points(serving)
