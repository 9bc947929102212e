"""Which test examples flipped between two checkpoints, and their pictures."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared import atomic
from shared.answers import Answers, encode_answers, file_record
from shared.data.catalog import open_dataset
from shared.records import ClassFigures, Verdict, write_record
from shared.spec import DatasetSpec

LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)
CLASSES = tuple(
    ClassFigures(name=name, examples=2, precision=None, recall=None, f1=None) for name in ("cat", "dog", "frog")
)


@pytest.fixture
def run(bench: Any) -> str:
    return str(bench.start(ema={"decays": [0.9, 0.99]}))


def judge(bench: Any, run: str, step: int, predicted: list[int], *, kind: str = "ema-0.9", data: str = "d") -> None:
    folder = bench.folder(run)
    guesses = np.array(predicted, np.uint8)
    answers = Answers(guesses, guesses == LABELS[: len(guesses)], data)
    encoded = encode_answers(answers, run=run, step=step, kind=kind)
    atomic.replace_file(folder.answers(step, kind), encoded)
    verdict = Verdict(
        run=run,
        step=step,
        weights="raw" if kind == "raw" else "ema",
        decay=None if kind == "raw" else float(kind[4:]),
        examples=len(guesses),
        precision_at_1=float(answers.correct.mean()),
        classes=CLASSES,
        answers=file_record(encoded),
        time=5,
    )
    write_record(folder.verdict(step, kind), verdict)


def test_flips_are_listed_with_label_and_both_predictions(bench: Any, run: str) -> None:
    judge(bench, run, 10, [0, 1, 0, 2, 0, 2])
    judge(bench, run, 20, [0, 0, 2, 1, 1, 1])
    found = bench.client().get(f"/v1/runs/{run}/evaluations/20/ema/flips").json()
    assert found["right_to_wrong"] == [
        {"index": 1, "label": 1, "before": 1, "after": 0},
        {"index": 5, "label": 2, "before": 2, "after": 1},
    ]
    assert found["wrong_to_right"] == [
        {"index": 2, "label": 2, "before": 0, "after": 2},
        {"index": 4, "label": 1, "before": 0, "after": 1},
    ]
    assert (found["both_right"], found["both_wrong"], found["examples"]) == (1, 1, 6)
    assert found["classes"] == ["cat", "dog", "frog"]
    assert (found["p_value"], found["method"]) == (1.0, "exact")
    assert found["judged"] == {"step": 20, "weights": "ema-0.9", "precision_at_1": 0.5}
    assert found["against"]["step"] == 10


def test_any_two_judged_weights_can_be_compared_and_lists_are_cut_but_not_counts(bench: Any, run: str) -> None:
    judge(bench, run, 10, [1, 0, 0, 2, 0, 1], kind="raw")
    judge(bench, run, 20, [0, 1, 2, 0, 1, 2])
    judge(bench, run, 30, [0, 1, 2, 0, 1, 2])
    client = bench.client()
    found = client.get(f"/v1/runs/{run}/evaluations/30/ema-0.9/flips?against=10/raw&limit=2").json()
    assert found["against"] == {"step": 10, "weights": "raw", "precision_at_1": 0.0}
    assert found["wrong_to_right_count"] == 6
    assert [each["index"] for each in found["wrong_to_right"]] == [0, 1]
    assert found["p_value"] == pytest.approx(2 / 2**6)
    back = client.get(f"/v1/runs/{run}/evaluations/10/raw/flips?against=20/ema").json()
    assert (back["right_to_wrong_count"], back["wrong_to_right_count"]) == (6, 0)


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("?against=20x", 422, "'20x' is not <step> or <step>/<weights>"),
        ("?against=20/best", 422, "no kind of weights is called 'best'"),
        ("?against=20", 404, "the weights ema-0.9 of step 20 have not been judged"),
        ("", 404, "nothing before step 10 was judged"),
        ("?limit=-1", 422, "limit"),
    ],
)
def test_what_cannot_be_compared_says_why(bench: Any, run: str, query: str, status: int, message: str) -> None:
    judge(bench, run, 10, [0, 1, 2, 0, 1, 2])
    answer = bench.client().get(f"/v1/runs/{run}/evaluations/10/ema/flips{query}")
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


def test_answers_that_are_gone_damaged_or_to_other_examples_are_told_apart(bench: Any, run: str) -> None:
    judge(bench, run, 10, [0, 1, 2, 0, 1, 2])
    judge(bench, run, 20, [0, 1, 2, 0, 1, 2], data="other")
    client, path = bench.client(), f"/v1/runs/{run}/evaluations/20/ema/flips"
    assert client.get(path).status_code == 409
    assert "different examples" in client.get(path).json()["error"]["message"]
    bench.folder(run).answers(10, "ema-0.9").write_bytes(b"x")
    assert client.get(path).json()["error"]["code"] == "corrupt_record"
    bench.folder(run).answers(10, "ema-0.9").unlink()
    assert client.get(path).status_code == 404


def test_a_test_example_is_shown_as_it_is_in_the_data_set(bench: Any, run: str) -> None:
    dataset = open_dataset(DatasetSpec(kind="shapes"), volume=bench.volume)
    answer = bench.client().get(f"/v1/runs/{run}/examples/3")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    images, _ = dataset.test.gather(np.array([3], np.int64))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), images[0])
    assert "max-age" in answer.headers["cache-control"]
    assert answer.headers["etag"] != bench.client().get(f"/v1/runs/{run}/examples/4").headers["etag"]


def test_an_example_that_there_is_not_is_a_404(bench: Any, run: str) -> None:
    answer = bench.client().get(f"/v1/runs/{run}/examples/2000")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "there is no example 2000; the last is 1999"


def test_a_data_set_that_is_not_at_hand_is_named(bench: Any) -> None:
    run = bench.start(dataset={"kind": "cifar10"})
    answer = bench.client().get(f"/v1/runs/{run}/examples/0")
    assert answer.status_code == 409
    assert "cifar-10" in answer.json()["error"]["hint"]
