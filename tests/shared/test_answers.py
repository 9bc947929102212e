import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared import atomic
from shared.answers import Answers, compact, encode_answers, file_record, parse_answers, read_answers
from shared.errors import CorruptRecordError, NotFoundError, UnknownSchemaError
from shared.layout import Volume
from shared.records import Verdict

KIND = "ema-0.9999"


def answers_of(predicted, labels, *, fingerprint="f1"):
    predicted = compact(np.asarray(predicted), classes=10)
    return Answers(predicted, predicted == np.asarray(labels), fingerprint)


def encoded(answers, step=20):
    return encode_answers(answers, run="r", step=step, kind=KIND)


@given(predicted=hnp.arrays(np.uint8, st.integers(1, 60), elements=st.integers(0, 3)), data=st.data())
def test_what_was_written_is_read_to_the_bit(tmp_path_factory, predicted, data):
    labels = data.draw(hnp.arrays(np.uint8, len(predicted), elements=st.integers(0, 3)))
    answers = answers_of(predicted, labels)
    found = parse_answers(encoded(answers), source=tmp_path_factory.getbasetemp())
    assert found.predicted.tolist() == predicted.tolist()
    assert found.correct.tolist() == (predicted == labels).tolist()
    assert found.dataset_fingerprint == "f1"


def test_ten_thousand_answers_take_no_more_than_twelve_kilobytes():
    assert len(encoded(answers_of(np.zeros(10_000, int), np.zeros(10_000, int)))) < 12_000


def test_many_classes_take_two_bytes():
    assert compact(np.array([0, 255]), classes=256).dtype == np.uint8
    assert compact(np.array([0, 256]), classes=257).dtype == np.uint16


def test_discordant_examples_are_those_that_one_of_the_two_gets_right():
    one, other = answers_of([1, 2, 3, 4], [1, 2, 0, 0]), answers_of([1, 0, 0, 5], [1, 2, 0, 0])
    only_one, only_other = one.discordant(other)
    assert (only_one.tolist(), only_other.tolist()) == ([1], [2])


def test_answers_to_another_test_set_are_not_comparable():
    one = answers_of([1, 2], [1, 2])
    assert one.comparable(answers_of([0, 0], [1, 2]))
    assert not one.comparable(answers_of([1, 2], [1, 2], fingerprint="f2"))
    assert not one.comparable(answers_of([1], [1]))


@pytest.fixture
def folder(tmp_path):
    return Volume(tmp_path).run("r")


def verdict_on(data, step=20):
    file = None if data is None else file_record(data)
    return Verdict(run="r", step=step, weights="ema", decay=0.9999, answers=file, time=0.0)


def test_answers_are_read_by_the_digest_in_the_verdict(folder):
    data = encoded(answers_of([1, 2], [1, 0]))
    atomic.replace_file(folder.answers(20, KIND), data)
    assert read_answers(folder, KIND, verdict_on(data)).predicted.tolist() == [1, 2]
    with pytest.raises(CorruptRecordError, match="digest"):
        read_answers(folder, KIND, verdict_on(encoded(answers_of([1, 1], [1, 0]))))


def test_answers_that_were_not_kept_are_told_apart_from_damage(folder):
    data = encoded(answers_of([1, 2], [1, 0]))
    with pytest.raises(NotFoundError, match="not on the volume"):
        read_answers(folder, KIND, verdict_on(data))
    atomic.replace_file(folder.answers(20, KIND), data)
    with pytest.raises(NotFoundError, match="not on the volume"):
        read_answers(folder, KIND, verdict_on(None))


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: b"", lambda data: data.replace(b'"examples":"2"', b'"examples":"3"')],
)
def test_what_is_no_file_of_answers_is_told_with_its_path(tmp_path, damage):
    with pytest.raises(CorruptRecordError) as found:
        parse_answers(damage(encoded(answers_of([1, 2], [1, 0]))), source=tmp_path / "x.answers")
    assert found.value.where == str(tmp_path / "x.answers")


def test_answers_of_another_release_are_an_error_by_name(tmp_path):
    data = encoded(answers_of([1, 2], [1, 0])).replace(b'"schema_version":"1"', b'"schema_version":"2"')
    with pytest.raises(UnknownSchemaError, match="schema version '2'"):
        parse_answers(data, source=tmp_path)
