from typing import Any

import numpy as np
import pytest

from shared.checkpoints import CheckpointStore
from shared.records import LineWriter, SeriesPoint, Verdict, write_record


@pytest.fixture
def run(bench: Any) -> str:
    return str(bench.start(ema={"decays": [0.9, 0.99]}))


def judge(bench: Any, run: str, step: int, precision: float | None, *, decay: float | None = None, **more: Any) -> None:
    kind = "raw" if decay is None else f"ema-{decay}"
    verdict = Verdict(
        run=run,
        step=step,
        weights="raw" if decay is None else "ema",
        decay=decay,
        examples=100,
        precision_at_1=precision,
        interval=None if precision is None else (precision - 0.1, precision + 0.1),
        confusion=((1, 2), (3, 4)),
        time=5,
        **more,
    )
    write_record(bench.folder(run).verdict(step, kind), verdict)


def test_series_are_columns_thinned_to_the_points_asked_for(bench: Any, run: str) -> None:
    writer = LineWriter(bench.folder(run).series)
    for step in range(100):
        values = {"cross_entropy": 1.0, "average_loss": 2.0, "learning_rate": 0.1, "examples_per_second": 5.0}
        writer.append(SeriesPoint(step=step, time=step, loss=9.0 if step == 41 else 1.0, **values))
    writer.close()
    client = bench.client()
    assert len(client.get(f"/v1/runs/{run}/series").json()["step"]) == 100
    thin = client.get(f"/v1/runs/{run}/series?points=10").json()
    assert thin["run"] == run
    assert len(thin["step"]) <= 10
    assert 41 in thin["step"]
    assert {len(column) for name, column in thin.items() if name != "run"} == {len(thin["step"])}
    assert client.get(f"/v1/runs/{run}/series?points=1").status_code == 422


def test_evaluations_are_listed_without_their_bulk(bench: Any, run: str) -> None:
    judge(bench, run, 10, 0.3)
    judge(bench, run, 10, 0.4, decay=0.9)
    found = bench.client().get(f"/v1/runs/{run}/evaluations").json()["evaluations"]
    assert [(each["step"], each["weights"], each["decay"], each["precision_at_1"]) for each in found] == [
        (10, "ema", 0.9, 0.4),
        (10, "raw", None, 0.3),
    ]
    assert not {"confusion", "classes"} & set(found[0])


def test_one_evaluation_is_shown_whole_by_kind_and_ema_means_the_served_one(bench: Any, run: str) -> None:
    judge(bench, run, 10, 0.3)
    judge(bench, run, 10, 0.4, decay=0.9)
    judge(bench, run, 10, 0.5, decay=0.99)
    client = bench.client()

    def precision(weights: str) -> float:
        whole = client.get(f"/v1/runs/{run}/evaluations/10/{weights}").json()
        assert whole["confusion"] == [[1, 2], [3, 4]]
        return float(whole["precision_at_1"])

    assert [precision(each) for each in ("raw", "ema", "ema-0.9", "ema-0.99")] == [0.3, 0.4, 0.4, 0.5]


def test_an_evaluation_that_there_is_not_says_which_there_are(bench: Any, run: str) -> None:
    client = bench.client()
    error = client.get(f"/v1/runs/{run}/evaluations/10/raw").json()["error"]
    assert error["hint"] == "Nothing of this run has been judged yet"
    judge(bench, run, 20, 0.3)
    answer = client.get(f"/v1/runs/{run}/evaluations/10/raw")
    assert answer.status_code == 404
    assert answer.json()["error"]["hint"] == "Judged steps: 20"
    assert client.get(f"/v1/runs/{run}/evaluations/20/best").status_code == 422
    assert client.get(f"/v1/runs/{run}/evaluations/-1/raw").status_code == 422


def test_the_best_are_the_served_averages_and_of_equals_the_oldest(bench: Any, run: str) -> None:
    judge(bench, run, 10, 0.9)
    judge(bench, run, 10, 0.95, decay=0.99)
    client = bench.client()
    judge(bench, run, 10, 0.4, decay=0.9)
    judge(bench, run, 20, 0.5, decay=0.9)
    judge(bench, run, 30, 0.5, decay=0.9)
    judge(bench, run, 40, None, decay=0.9, status="failed", problem="not finite")
    best = client.get(f"/v1/runs/{run}").json()["best"]
    assert best == {"step": 20, "weights": "ema", "decay": 0.9, "precision_at_1": 0.5, "interval": [0.4, 0.6]}


def test_until_averages_are_judged_the_best_are_the_raw_weights(bench: Any, run: str) -> None:
    judge(bench, run, 10, 0.9)
    assert bench.client().get(f"/v1/runs/{run}").json()["best"]["weights"] == "raw"


def test_the_latest_are_the_newest_of_each_kind(bench: Any, run: str) -> None:
    judge(bench, run, 10, 0.1)
    judge(bench, run, 20, 0.2)
    judge(bench, run, 10, 0.3, decay=0.9)
    latest = bench.client().get(f"/v1/runs/{run}").json()["latest"]
    assert [(each["weights"], each["step"]) for each in latest] == [("raw", 20), ("ema", 10)]


def test_a_run_at_work_shows_figures_and_the_time_to_its_end(bench: Any, run: str) -> None:
    bench.step()
    bench.report(run, "running", step=25, examples_per_second=64.0, loss=float("nan"))
    view = bench.client().get(f"/v1/runs/{run}").json()
    assert (view["step"], view["progress"], view["loss"]) == (25, 0.25, None)
    assert view["eta_seconds"] == 75 * 128 / 64


def test_a_trainer_that_prepares_does_not_take_a_run_back_to_its_beginning(bench: Any, run: str) -> None:
    bench.step()
    bench.checkpoint(run, 50)
    bench.report(run, "starting", step=0)
    assert bench.client().get(f"/v1/runs/{run}").json()["step"] == 50


def test_a_failed_run_repeats_its_trainers_words(bench: Any, run: str) -> None:
    bench.step()
    failure = {"code": "diverged", "message": "is not finite", "where": "loss", "hint": "Lower the rate"}
    bench.report(run, "failed", failure=failure)
    bench.launcher.die("slot-0", 1)
    bench.step()
    view = bench.client().get(f"/v1/runs/{run}").json()
    assert (view["state"], view["failure"]) == ("failed", failure)


def test_a_damaged_checkpoint_is_listed_with_its_problem(bench: Any, run: str) -> None:
    bench.checkpoint(run, 10)
    (found,) = bench.client().get(f"/v1/runs/{run}/checkpoints").json()["checkpoints"]
    assert (found["step"], found["weights"]) == (10, [])
    assert "no manifest" in found["problem"]


def test_a_checkpoint_is_pinned_and_unpinned_and_shows_what_came_of_it(bench: Any) -> None:
    run = bench.start()
    client = bench.client()
    arrays = {"kernel": np.zeros(3, np.float32)}
    CheckpointStore(bench.folder(run)).commit(
        step=10, fence=1, spec_sha256="0" * 64, groups={"raw": arrays, "optimizer": {}}, time=0.0
    )
    for _ in range(2):
        assert client.post(f"/v1/runs/{run}/checkpoints/10:pin").status_code == 204
    (view,) = client.get(f"/v1/runs/{run}/checkpoints").json()["checkpoints"]
    assert (view["step"], view["pinned"], view["exported"], view["evaluations"]) == (10, True, False, [])
    assert [event.kind for event in bench.events(run)].count("pinned") == 1
    assert client.post(f"/v1/runs/{run}/checkpoints/10:unpin").status_code == 204
    assert client.get(f"/v1/runs/{run}/checkpoints").json()["checkpoints"][0]["pinned"] is False


def test_a_checkpoint_that_is_not_there_cannot_be_pinned(bench: Any) -> None:
    run = bench.start()
    answer = bench.client().post(f"/v1/runs/{run}/checkpoints/10:pin")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert not bench.folder(run).pins.exists()
