import json
from pathlib import Path
from typing import Any

import pytest

from services.gateway.streams import lines
from services.gateway.streams.tail import Tail


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.jsonl"


def tail_of(path: Path, **arguments: Any) -> Tail:
    return Tail(path=path, render=lambda values: {"n": values["n"]}, **arguments)


def write(path: Path, *numbers: int) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps({"n": number}) + "\n" for number in numbers)


def numbers(tail: Tail, offset: int) -> list[int]:
    found = []
    while some := tail.lines(offset):
        found += [json.loads(line.data)["n"] for line in some if line.data]
        offset = some[-1].end
    return found


def test_a_file_is_followed_from_its_end_and_read_from_wherever_one_stands(path: Path) -> None:
    write(path, 1, 2)
    tail = tail_of(path)
    end = tail.end()
    write(path, 3)
    assert tail.look()
    assert numbers(tail, end) == [3]
    assert numbers(tail, 0) == [1, 2, 3]
    assert not tail.look()


def test_a_file_that_is_not_there_yet_is_followed_from_its_beginning(path: Path) -> None:
    tail = tail_of(path)
    assert tail.end() == 0
    write(path, 1)
    assert tail.look()
    assert numbers(tail, 0) == [1]


def test_a_torn_last_line_is_waited_for(path: Path) -> None:
    tail = tail_of(path)
    end = tail.end()
    path.write_text('{"n": 1}\n{"n"')
    assert tail.look()
    assert numbers(tail, end) == [1]
    with path.open("a") as file:
        file.write(": 2}\n")
    assert tail.look()
    assert numbers(tail, end) == [1, 2]


def test_lines_that_are_none_are_passed_over(path: Path) -> None:
    path.write_text('rubbish\n[1]\n{"other": 1}\n\xff\n{"n": 5}\n', encoding="latin-1")
    assert numbers(tail_of(path), 0) == [5]


def test_a_line_that_fills_a_chunk_is_passed_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "CHUNK", 16)
    path.write_text("x" * 40 + "\n")
    write(path, 7)
    assert numbers(tail_of(path), 0) == [7]


def test_whoever_is_behind_the_window_reads_from_the_disk(path: Path) -> None:
    tail = tail_of(path, kept=2)
    assert tail.end() == 0
    write(path, *range(10))
    assert tail.look()
    assert tail.recent(0) is None
    assert numbers(tail, 0) == list(range(10))


def test_a_file_that_was_replaced_is_followed_from_its_beginning(path: Path) -> None:
    write(path, 1, 2, 3)
    tail = tail_of(path)
    end = tail.end()
    path.unlink()
    write(path, 4)
    assert tail.look()
    assert numbers(tail, end) == [4]
