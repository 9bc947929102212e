import pytest

from shared.errors import CorruptRecordError, UnknownSchemaError
from shared.records import (
    Desired,
    Event,
    LineWriter,
    SeriesPoint,
    encode_record,
    newest_line,
    read_lines,
    read_record,
    write_record,
)

WANTED = Desired(generation=3, state="running", time=1.5)


def test_a_record_is_read_back(tmp_path):
    write_record(tmp_path / "run" / "desired.json", WANTED)
    assert read_record(tmp_path / "run" / "desired.json", Desired) == WANTED


def test_every_truncation_of_a_record_is_one_kind_of_error(tmp_path):
    data = encode_record(WANTED).rstrip()
    path = tmp_path / "desired.json"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptRecordError, match=r"desired\.json"):
            read_record(path, Desired)


def test_another_schema_version_is_never_guessed_at(tmp_path):
    path = tmp_path / "desired.json"
    path.write_bytes(encode_record(WANTED).replace(b'"schema_version": 1', b'"schema_version": 2'))
    with pytest.raises(UnknownSchemaError, match="version 2"):
        read_record(path, Desired)


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"generation": 1, "state": "flying", "time": 0}', "\xff"])
def test_what_is_no_record_is_corrupt(tmp_path, text):
    path = tmp_path / "desired.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CorruptRecordError):
        read_record(path, Desired)


def event(number):
    return Event(time=0, service="trainer", kind="test", message=f"number {number}")


def test_lines_are_read_from_any_offset(tmp_path):
    path = tmp_path / "events.jsonl"
    writer = LineWriter(path)
    for number in range(5):
        writer.append(event(number))
    writer.close()
    lines = list(read_lines(path, Event))
    assert [record for _, record in lines] == [event(number) for number in range(5)]
    assert [record for _, record in read_lines(path, Event, offset=lines[2][0])] == [event(3), event(4)]
    assert lines[-1][0] == path.stat().st_size


def test_a_torn_last_line_is_not_read_and_a_foreign_line_is_passed_over(tmp_path):
    path = tmp_path / "events.jsonl"
    whole = event(1).model_dump_json().encode() + b"\n"
    path.write_bytes(b"no json\n" + whole + whole[:-1])
    assert [record for _, record in read_lines(path, Event)] == [event(1)]
    assert list(read_lines(tmp_path / "missing.jsonl", Event)) == []


def test_the_newest_line_is_the_last_whole_one_that_is_meant(tmp_path):
    path = tmp_path / "events.jsonl"
    assert newest_line(path, Event, within=4096) is None
    lines = [event(number).model_dump_json().encode() + b"\n" for number in range(4)]
    path.write_bytes(b"".join([*lines[:3], b"no json\n", lines[3][:-1]]))
    assert newest_line(path, Event, within=4096) == event(2)
    assert newest_line(path, Event, within=4096, where=lambda record: record == event(0)) == event(0)
    assert newest_line(path, Event, within=4096, where=lambda record: record == event(3)) is None
    assert (
        newest_line(path, Event, within=sum(map(len, lines[1:])) + 2, where=lambda record: record == event(0)) is None
    )


def test_a_loss_that_is_no_number_survives_its_line(tmp_path):
    values = dict.fromkeys(("loss", "cross_entropy", "average_loss", "learning_rate", "examples_per_second"), 1.0)
    point = SeriesPoint(step=1, time=0, **{**values, "loss": float("inf")})
    writer = LineWriter(tmp_path / "series.jsonl")
    writer.append(point)
    writer.close()
    assert next(read_lines(tmp_path / "series.jsonl", SeriesPoint))[1].loss == float("inf")
