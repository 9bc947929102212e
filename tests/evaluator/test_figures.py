import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.evaluator.figures import Tally, wilson_interval

NAMES = ("cat", "dog", "frog")


def tally(logits, labels, *, batch=None, names=NAMES, top_k=2):
    counted = Tally(classes=names, top_k=top_k)
    batch = batch or len(labels)
    for start in range(0, len(labels), batch):
        counted.add(np.asarray(logits[start : start + batch], np.float32), np.asarray(labels[start : start + batch]))
    return counted


def test_figures_of_a_case_counted_by_hand():
    logits = [[3, 1, 0], [0, 2, 1], [1, 2, 3], [5, 0, 1]]
    figures = tally(logits, np.array([0, 1, 1, 2], np.int32)).figures()
    assert figures.examples == 4
    assert figures.precision_at_1 == 0.5
    assert figures.precision_at_k == 1.0
    assert figures.confusion == ((1, 0, 0), (0, 1, 1), (1, 0, 0))
    cat, dog, frog = figures.classes
    assert (cat.name, cat.examples, cat.precision, cat.recall) == ("cat", 1, 0.5, 1.0)
    assert cat.f1 == pytest.approx(2 / 3)
    assert (dog.examples, dog.precision, dog.recall) == (2, 1.0, 0.5)
    assert (frog.precision, frog.recall, frog.f1) == (0.0, 0.0, 0.0)


def test_a_class_without_examples_or_answers_has_no_figures():
    figures = tally([[1, 0, 0]], np.array([0], np.int32)).figures()
    assert (figures.classes[2].precision, figures.classes[2].recall, figures.classes[2].f1) == (None, None, None)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.integers(1, 40), k=st.integers(1, 7), classes=st.integers(2, 6), batch=st.integers(1, 13))
def test_figures_agree_with_independent_formulas_whatever_the_batches(data, n, k, classes, batch):
    # Few distinct values, so that ties are common.
    logits = data.draw(hnp.arrays(np.float32, (n, classes), elements=st.integers(-3, 3).map(float)))
    labels = data.draw(hnp.arrays(np.int32, (n,), elements=st.integers(0, classes - 1)))
    names = [f"c{index}" for index in range(classes)]
    figures = tally(logits, labels, batch=batch, names=names, top_k=k).figures()

    ranked = [sorted(range(classes), key=lambda c, row=row: (-row[c], c)) for row in logits.tolist()]
    first = sum(order[0] == label for order, label in zip(ranked, labels, strict=True))
    in_k = sum(label in order[: min(k, classes)] for order, label in zip(ranked, labels, strict=True))
    loss = sum(
        math.log(math.fsum(math.exp(value) for value in row)) - row[label]
        for row, label in zip(logits.tolist(), labels, strict=True)
    )
    assert figures.examples == n
    assert figures.precision_at_1 == first / n
    assert figures.precision_at_k == in_k / n
    assert figures.loss == pytest.approx(loss / n, rel=1e-12, abs=1e-12)
    assert np.array(figures.confusion).sum() == n
    assert np.trace(np.array(figures.confusion)) == first
    assert [item.examples for item in figures.classes] == np.bincount(labels, minlength=classes).tolist()


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.integers(1, 60), classes=st.integers(2, 5), batch=st.integers(1, 13))
def test_calibration_agrees_with_the_published_formula_whatever_the_batches(data, n, classes, batch):
    logits = data.draw(hnp.arrays(np.float32, (n, classes), elements=st.floats(-4, 4, width=16)))
    labels = data.draw(hnp.arrays(np.int32, (n,), elements=st.integers(0, classes - 1)))
    names = [f"c{index}" for index in range(classes)]
    found = tally(logits, labels, batch=batch, names=names).figures().calibration

    places = {number: [] for number in range(15)}
    for row, label in zip(logits.tolist(), labels, strict=True):
        sums = math.fsum(math.exp(value) for value in row)
        confidence = max(math.exp(value) for value in row) / sums
        if abs(confidence * 15 - round(confidence * 15)) < 1e-9:
            return  # on a bin's edge, where the last bit decides
        number = next(number for number in range(15) if number / 15 < confidence <= (number + 1) / 15)
        places[number].append((confidence, row.index(max(row)) == label))
    error = sum(
        len(own) / n * abs(sum(right for _, right in own) / len(own) - sum(sure for sure, _ in own) / len(own))
        for own in places.values()
        if own
    )
    assert found.error == pytest.approx(error, abs=1e-9)
    assert [each.examples for each in found.bins] == [len(own) for own in places.values()]
    assert (found.bins[0].lower, found.bins[-1].upper) == (0, 1)
    for each, own in zip(found.bins, places.values(), strict=True):
        if own:
            assert each.accuracy == pytest.approx(sum(right for _, right in own) / len(own))
            assert each.lower < each.confidence <= each.upper
        else:
            assert (each.accuracy, each.confidence) == (None, None)


def test_a_model_that_is_sure_and_right_is_calibrated_and_one_sure_and_wrong_is_not():
    logits = [[1000.0, 0, 0]] * 4
    assert tally(logits, np.zeros(4, np.int32)).figures().calibration.error == 0.0
    assert tally(logits, np.ones(4, np.int32)).figures().calibration.error == 1.0
    assert tally(logits, np.int32([0, 0, 0, 1])).figures().calibration.error == pytest.approx(0.25)


def test_the_answer_to_each_example_is_kept_in_order():
    counted = tally([[3, 1, 0], [0, 2, 1], [1, 2, 3]], np.int32([0, 2, 2]), batch=2)
    predicted, correct = counted.answers()
    assert (predicted.tolist(), predicted.dtype) == ([0, 1, 2], np.uint8)
    assert correct.tolist() == [True, False, True]
    many = Tally(classes=[str(number) for number in range(300)], top_k=1)
    many.add(np.eye(300, dtype=np.float32)[[299]], np.int32([299]))
    assert (many.answers()[0].tolist(), many.answers()[0].dtype) == ([299], np.uint16)


def test_loss_does_not_overflow():
    figures = tally([[10_000.0, -10_000.0, 0.0]], np.array([1], np.int32)).figures()
    assert figures.loss == 20_000.0


def test_examples_with_logits_that_are_no_numbers_are_counted_apart():
    counted = tally([[math.nan, 0, 0], [math.inf, 0, 0], [1, 0, 0]], np.array([0, 0, 0], np.int32))
    assert counted.not_finite == 2
    assert counted.figures().examples == 1


def test_no_figures_without_examples():
    with pytest.raises(ValueError, match="without examples"):
        Tally(classes=NAMES, top_k=1).figures()


@pytest.mark.parametrize("labels", [[3], [-1]])
def test_a_label_out_of_range_is_an_error(labels):
    with pytest.raises(ValueError, match="label"):
        tally([[1, 0, 0]], np.array(labels, np.int32))


def test_logits_of_another_number_of_classes_are_an_error():
    with pytest.raises(ValueError, match="shape"):
        tally([[1, 0]], np.array([0], np.int32))


def test_wilson_interval_agrees_with_published_values():
    # Brown, Cai, DasGupta (2001) and textbooks: 81 of 263 -> 0.255 to 0.366.
    low, high = wilson_interval(81, 263)
    assert (round(low, 3), round(high, 3)) == (0.255, 0.366)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(0, 10)[1] == pytest.approx(0.2775328, abs=1e-6)
    assert wilson_interval(10, 10)[1] == 1.0


@given(examples=st.integers(1, 10_000), data=st.data())
def test_the_bounds_of_wilsons_interval_solve_its_equation(examples, data):
    correct = data.draw(st.integers(0, examples))
    low, high = wilson_interval(correct, examples)
    share = correct / examples
    assert 0 <= low <= share <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            assert abs(share - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / examples), abs=1e-9)
