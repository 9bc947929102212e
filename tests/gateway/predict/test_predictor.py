import asyncio
import gc
import logging
import weakref

import pytest

from services.gateway.predict.models import OnnxLoader
from shared.errors import CorruptExportError, NotFoundError, UnavailableError

A, B, C = "20260101-000000-a-0001", "20260102-000000-b-0002", "20260103-000000-c-0003"


async def obtained(serving, name: str, *, step: int | None = None):
    """The model of this name; looks at the volume until there is an answer, as the thread would."""
    task = asyncio.ensure_future(serving.predictor.model(name, step=step))
    await asyncio.sleep(0)
    if not task.done():
        await asyncio.to_thread(serving.predictor.refresh)
    return await asyncio.wait_for(task, 10)


def test_best_is_loaded_before_anybody_asks(models, make_serving) -> None:
    models.export(A, 1)
    serving = make_serving()
    assert serving.predictor.loaded(A).key == (A, 1)
    assert serving.predictor.why_not_ready() is None


def test_without_a_judged_checkpoint_it_says_that_it_is_not_ready(make_serving) -> None:
    assert "judged" in make_serving().predictor.why_not_ready()


def test_better_export_takes_over_and_worse_or_equally_good_one_does_not(models, make_serving) -> None:
    models.export(A, 10, precision=0.5)
    serving = make_serving()
    for step, precision, answers in ((20, 0.4, 10), (5, 0.5, 10), (30, 0.5, 10), (40, 0.6, 40)):
        models.export(A, step, precision=precision)
        serving.predictor.refresh()
        assert serving.predictor.loaded(A).key == (A, answers)


def test_newer_run_becomes_best_with_its_first_export(models, make_serving) -> None:
    models.export(A, 1, precision=0.9)
    serving = make_serving()
    models.add_run(B)
    serving.predictor.refresh()
    assert asyncio.run(obtained(serving, "best")).key == (A, 1)
    models.export(B, 1, precision=0.1)
    serving.predictor.refresh()
    assert asyncio.run(obtained(serving, "best")).key == (B, 1)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_f50_corrupt_better_export_leaves_the_old_one_serving_and_names_the_file(
    models, make_serving, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    models.export(A, 1, precision=0.5)
    serving = make_serving()
    path = models.export(A, 2, precision=0.9) / name
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            serving.predictor.refresh()
    assert serving.predictor.loaded(A).key == (A, 1)
    assert serving.predictor.why_not_ready() is None
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]


def test_corrupt_export_is_counted(models, make_serving) -> None:
    models.export(A, 1, data=b"no model")
    serving = make_serving()
    assert serving.metric("tandem_predict_load_failures_total", code="corrupt_export") == 1
    assert "cannot be served" in serving.predictor.why_not_ready()


def test_f50_export_that_is_deleted_while_it_serves_goes_on_serving(models, make_serving) -> None:
    models.export(A, 1, precision=0.5)
    folder = models.export(A, 2, precision=0.9)
    serving = make_serving()
    folder.rename(folder.parent / ".trash-2")
    serving.predictor.refresh()
    assert serving.predictor.loaded(A).key == (A, 2)


def test_export_that_is_removed_while_it_is_loaded_is_no_failure(
    models, make_serving, caplog: pytest.LogCaptureFixture
) -> None:
    real = OnnxLoader(threads=1, largest_batch=2)

    def load(export):
        if export.manifest.step == 2 and export.folder.exists():
            export.folder.rename(export.folder.parent / ".trash-2")
        return real(export)

    models.export(A, 1, precision=0.5)
    models.export(A, 2, precision=0.9)
    serving = make_serving(load=load)
    assert serving.predictor.loaded(A).key == (A, 1)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_next_best_serves_when_the_best_is_corrupt_from_the_start(models, make_serving) -> None:
    models.export(A, 1, precision=0.5)
    models.export(A, 2, precision=0.9, data=b"no model")
    assert make_serving().predictor.loaded(A).key == (A, 1)


def test_failed_export_is_tried_again_after_a_while(models, make_serving) -> None:
    now = [0.0]
    broken = [True]
    real = OnnxLoader(threads=1, largest_batch=2)
    tried = []

    def load(export):
        tried.append(export.key)
        if broken[0]:
            raise CorruptExportError("cannot be read: too many open files", where="model.onnx")
        return real(export)

    models.export(A, 1)
    serving = make_serving(load=load, clock=lambda: now[0])
    broken[0] = False
    serving.predictor.refresh()
    assert len(tried) == 1
    now[0] = 31.0
    serving.predictor.refresh()
    assert serving.predictor.loaded(A).key == (A, 1)


def test_least_recently_used_model_goes_and_comes_back_when_asked(models, make_serving) -> None:
    for run in (A, B, C):
        models.export(run, 1)
    serving = make_serving(max_loaded=2)

    async def story() -> None:
        assert (await obtained(serving, A)).key == (A, 1)
        assert (await obtained(serving, C)).key == (C, 1)
        assert (await obtained(serving, B)).key == (B, 1)
        assert serving.predictor.loaded(A) is None
        assert serving.metric("tandem_predict_loaded_models") == 2
        assert (await obtained(serving, A)).key == (A, 1)
        assert serving.predictor.loaded(C) is None
        assert serving.predictor.why_not_ready() is None

    asyncio.run(story())


def test_as_many_models_as_are_asked_for_at_once_are_not_in_memory_at_once(models, make_serving) -> None:
    real, held = OnnxLoader(threads=1, largest_batch=2), []
    for step in range(6):
        models.export(A, step)

    def load(export):
        held.append(made[0].metric("tandem_predict_loaded_models") if made else 0)
        return real(export)

    made = []
    made.append(make_serving(load=load, max_loaded=2))

    async def ask() -> list[int]:
        asked = [asyncio.ensure_future(made[0].predictor.model(A, step=step)) for step in range(6)]
        await asyncio.sleep(0)
        await asyncio.to_thread(made[0].predictor.refresh)
        return [(await each).manifest.step for each in asked]

    assert asyncio.run(ask()) == [0, 1, 2, 3, 4, 5]
    assert max(held) <= 2


def test_step_is_answered_by_its_own_export_and_shares_the_room_of_all_models(models, make_serving) -> None:
    for step in (1, 2, 3):
        models.export(A, step, precision=step / 10)
    serving = make_serving(max_loaded=2)

    async def story() -> None:
        assert (await obtained(serving, A, step=1)).key == (A, 1)
        assert (await obtained(serving, A)).key == (A, 3)
        assert await obtained(serving, A, step=3) is await obtained(serving, A)
        assert (await obtained(serving, A, step=2)).key == (A, 2)
        assert serving.predictor.version(A, 1) is None
        assert serving.metric("tandem_predict_loaded_models") == 2
        with pytest.raises(NotFoundError, match="step 4"):
            await obtained(serving, A, step=4)

    asyncio.run(story())


def test_step_whose_export_is_corrupt_says_so_and_the_answer_for_the_run_stays(models, make_serving) -> None:
    models.export(A, 1, precision=0.9)
    (models.export(A, 2, precision=0.1) / "model.onnx").write_bytes(b"spoilt")
    serving = make_serving()
    with pytest.raises(UnavailableError, match="bytes long"):
        asyncio.run(obtained(serving, A, step=2))
    assert asyncio.run(obtained(serving, A)).key == (A, 1)


def test_model_that_was_swapped_out_is_freed_once_its_last_request_is_done(models, make_serving) -> None:
    models.export(A, 1, precision=0.1)
    serving = make_serving()
    held = serving.predictor.loaded(A)
    gone = weakref.ref(held)
    models.export(A, 2, precision=0.2)
    serving.predictor.refresh()
    gc.collect()
    assert gone() is not None
    del held
    gc.collect()
    assert gone() is None


def test_run_that_is_removed_from_the_volume_is_forgotten(models, make_serving) -> None:
    models.export(A, 1)
    serving = make_serving()
    models.volume.run(A).root.rename(models.volume.runs / ".trash-a")
    serving.predictor.refresh()
    assert serving.predictor.loaded(A) is None


def test_asking_for_a_run_of_which_nothing_works_says_why(models, make_serving) -> None:
    path = models.export(A, 1, data=b"no model")
    models.export(B, 1)
    serving = make_serving()
    with pytest.raises(UnavailableError, match=str(path)):
        asyncio.run(obtained(serving, A))


def test_waiting_for_a_model_ends_when_the_predictor_stops(models, make_serving) -> None:
    models.export(A, 1)
    models.export(B, 1)
    serving = make_serving()

    async def story() -> None:
        task = asyncio.ensure_future(serving.predictor.model(A))
        await asyncio.sleep(0)
        serving.predictor.stop()
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(task, 10)

    asyncio.run(story())


def test_thread_follows_the_volume(models, make_serving) -> None:
    serving = make_serving()
    serving.predictor.start()
    models.export(A, 1)

    async def appears() -> None:
        while serving.predictor.loaded(A) is None:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(appears(), 10))
