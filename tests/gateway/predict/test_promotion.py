"""When aliases move, when they do not, and that they never point at what cannot answer."""

import asyncio
import logging
import os
import threading
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI

from services.gateway import errors
from services.gateway.predict.aliases import BEST, LATEST, set_by_hand
from services.gateway.predict.models import OnnxLoader
from shared import atomic
from shared.answers import Answers, encode_answers, file_record
from shared.errors import ConflictError, CorruptExportError, NotFoundError
from shared.locks import exports_lock
from shared.records import Aliases, Canary, Verdict, read_record, write_record
from shared.spec import RunSpec
from tests.gateway.conftest import Client
from tests.gateway.predict.asking import A, asked, order, place, points

B = "20260102-000000-b-0002"
KIND = "ema-0.9999"


@pytest.fixture
def serving(models: Any, make_serving: Any) -> Any:
    for step, precision in ((10, 0.5), (20, 0.8), (30, 0.6)):
        models.export(A, step, precision=precision)
    return make_serving()


@pytest.fixture
def client(serving: Any) -> Client:
    """Asks for something about aliases while the predictor's thread runs."""
    serving.predictor.start()
    app = FastAPI()
    errors.install(app)
    for router in serving.routers():
        app.include_router(router)
    return Client(app)


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


def test_an_alias_of_ones_own_is_moved_listed_and_removed(client: Client, serving: Any) -> None:
    answer = client.request("PUT", f"/v1/models/{A}/aliases/stable", json={"step": 10, "reason": "looks right"})
    assert answer.status_code == 200
    assert (answer.json()["step"], answer.json()["reason"], answer.json()["moves"]) == (10, "looks right", "by hand")
    assert client.request("PUT", f"/v1/models/{A}/aliases/stable", json={"step": 20}).json()["history"][0]["step"] == 10
    listed = client.get(f"/v1/models/{A}/aliases").json()
    assert {each["alias"]: each["step"] for each in listed["aliases"]} == {"best": 20, "latest": 30, "stable": 20}
    assert client.get("/v1/models/stable").json()["step"] == 20
    assert client.request("DELETE", f"/v1/models/{A}/aliases/stable").status_code == 204
    assert client.get("/v1/models/stable").status_code == 404
    assert client.request("DELETE", f"/v1/models/{A}/aliases/stable").status_code == 404


def test_best_that_was_put_somewhere_stays_until_it_is_freed(client: Client, models: Any, serving: Any) -> None:
    put = f"/v1/models/{A}/aliases/best"
    assert client.request("PUT", put, json={"step": 10}).json()["pinned"]
    models.export(A, 40, precision=0.9)
    serving.predictor.stop()
    serving.predictor.refresh()
    assert points(serving) == {BEST: 10, LATEST: 40}
    assert asked(serving, A) == {10: 1}


def test_a_freed_alias_moves_on(client: Client, models: Any, serving: Any) -> None:
    put = f"/v1/models/{A}/aliases/best"
    client.request("PUT", put, json={"step": 10})
    assert not client.request("PUT", put, json={"pinned": False}).json()["pinned"]
    serving.predictor.stop()
    serving.predictor.refresh()
    assert points(serving)[BEST] == 20


def test_rolling_back_goes_to_where_it_was_and_best_stays_there(client: Client, models: Any, serving: Any) -> None:
    models.export(A, 40, precision=0.9)
    while client.get("/v1/models/best").json()["step"] != 40:
        pass
    back = client.post(f"/v1/models/{A}/aliases/best:rollback", json={"reason": "cats look like dogs"}).json()
    assert (back["step"], back["pinned"], back["reason"]) == (20, True, "cats look like dogs")
    assert client.get("/v1/models/best").json()["step"] == 20
    refused = client.post(f"/v1/models/{A}/aliases/best:rollback")
    assert refused.status_code == 409
    assert "anywhere else" in refused.json()["error"]["message"]


def test_a_canary_answers_its_share_and_equal_requests_alike(client: Client, serving: Any) -> None:
    put = f"/v1/models/{A}/aliases/best/canary"
    assert client.request("PUT", put, json={"step": 30, "share": 0.25}).json()["canary"] == {"step": 30, "share": 0.25}
    serving.predictor.stop()
    counted = asked(serving, A, 200)
    assert counted[20] + counted[30] == 200
    assert 47 <= counted[30] <= 53
    by_token = {token: asked(serving, A, 3, token=f"request-{token}") for token in range(200)}
    assert all(len(steps) == 1 for steps in by_token.values())
    assert 30 <= sum(30 in steps for steps in by_token.values()) <= 70
    assert asked(serving, f"{A}@10") == {10: 1}
    assert asked(serving, "latest", 20) == {30: 20}


def test_a_canary_ends_when_it_is_told_to_or_its_alias_moves(client: Client, serving: Any) -> None:
    put = f"/v1/models/{A}/aliases/best/canary"
    client.request("PUT", put, json={"step": 30, "share": 0.5})
    assert client.request("DELETE", put).json()["canary"] is None
    client.request("PUT", put, json={"step": 30, "share": 0.5})
    moved = client.request("PUT", f"/v1/models/{A}/aliases/best", json={"step": 30}).json()
    assert (moved["step"], moved["canary"]) == (30, None)


@pytest.mark.parametrize(
    ("call", "body", "status", "message"),
    [
        ("PUT aliases/stable", {"step": 15}, 404, "there is no export of step 15"),
        ("PUT aliases/stable", {"pinned": True}, 404, "there is no alias stable"),
        ("PUT aliases/stable", {"step": True}, 422, "body.step: Input should be a valid integer"),
        ("PUT aliases/best/canary", {"step": "10", "share": 0.5}, 422, "body.step: Input should be a valid integer"),
        ("PUT aliases/stable", {}, 422, "neither step nor pinned"),
        ("PUT aliases/Not One", {"step": 10}, 422, "is not an alias"),
        ("PUT aliases/stable/canary", {"step": 10, "share": 0.5}, 404, "there is no alias stable"),
        ("PUT aliases/best/canary", {"step": 20, "share": 0.5}, 409, "best points at step 20 already"),
        ("PUT aliases/best/canary", {"step": 10, "share": 1.0}, 422, "share"),
        ("POST aliases/latest:rollback", None, 409, "latest has not been anywhere else"),
    ],
)
def test_what_cannot_be_done_says_why(client: Client, call: str, body: Any, status: int, message: str) -> None:
    method, _, path = call.partition(" ")
    answer = client.request(method, f"/v1/models/{A}/{path}", json=body)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


def test_an_alias_does_not_move_to_an_export_that_does_not_answer(client: Client, models: Any, serving: Any) -> None:
    models.export(A, 40, precision=0.1, data=b"no model")
    while 40 not in client.get(f"/v1/models/{A}").json()["steps"]:
        pass
    answer = client.request("PUT", f"/v1/models/{A}/aliases/stable", json={"step": 40})
    assert answer.status_code == 503
    assert "stable" not in points(serving)


def test_aliases_of_exports_that_vanish_go_back_or_end(models: Any, serving: Any, make_serving: Any) -> None:
    for step in (10, 30):
        place(serving, "stable", step)
    place(serving, "mine", 30)
    serving.predictor.stop()
    for step in (20, 30):
        models.volume.run(A).export(step).rename(models.volume.run(A).exports / f".trash-{step}")
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
    (models.volume.run(A).export(30) / "model.onnx").write_bytes(b"spoilt")
    again = make_serving()
    assert asked(again, "stable") == {10: 1}
    assert points(again)["stable"] == 10


def test_a_canary_that_is_damaged_ends_and_nobody_notices(models: Any, serving: Any, make_serving: Any) -> None:
    order(serving, lambda promotion, run: promotion.try_out(run, BEST, Canary(step=30, share=0.999), reason="try"))
    serving.predictor.stop()
    (models.volume.run(A).export(30) / "model.onnx").write_bytes(b"spoilt")
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


def test_latest_whose_export_is_damaged_moves_to_the_newest_that_answers(
    models: Any, serving: Any, make_serving: Any
) -> None:
    serving.predictor.stop()
    (models.volume.run(A).export(30) / "model.onnx").write_bytes(b"spoilt")
    again = make_serving()
    assert asked(again, "latest") == {20: 1}
    assert points(again)[LATEST] == 20


def test_an_alias_of_an_export_that_is_in_memory_alone_ends_with_it(models: Any, make_serving: Any) -> None:
    for step, precision in ((10, 0.5), (20, 0.8), (30, 0.6)):
        models.export(A, step, precision=precision)
    serving = make_serving(max_loaded=2)
    place(serving, "mine", 10)
    models.volume.run(A).export(10).rename(models.volume.run(A).exports / ".trash-10")
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
        models.volume.run(A).export(step).rename(models.volume.run(A).exports / f".trash-{step}")
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
    models.volume.run(A).export(30).rename(models.volume.run(A).exports / ".trash-30")
    (models.volume.run(A).export(20) / "model.onnx").write_bytes(b"spoilt")
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
