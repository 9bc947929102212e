from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.series import SeriesReader, thinned, view
from shared.layout import RunFolder
from shared.records import LineWriter, SeriesPoint


def point(step: int, loss: float = 1.0) -> SeriesPoint:
    return SeriesPoint(
        step=step, time=step, loss=loss, cross_entropy=loss, average_loss=loss, learning_rate=0.1, examples_per_second=1
    )


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def append(folder: RunFolder, *points: SeriesPoint) -> None:
    writer = LineWriter(folder.series)
    for each in points:
        writer.append(each)
    writer.close()


def steps(points: list[SeriesPoint]) -> list[int]:
    return [each.step for each in points]


def test_a_run_without_a_series_has_no_points(folder: RunFolder) -> None:
    assert SeriesReader().points(folder) == []


def test_what_is_appended_is_read_on(folder: RunFolder) -> None:
    reader = SeriesReader()
    append(folder, point(10), point(20))
    assert steps(reader.points(folder)) == [10, 20]
    append(folder, point(30))
    assert steps(reader.points(folder)) == [10, 20, 30]


def test_of_a_step_that_stands_twice_the_later_line_counts(folder: RunFolder) -> None:
    append(folder, point(10, 1), point(20, 2), point(30, 3), point(20, 7), point(30, 8))
    found = SeriesReader().points(folder)
    assert [(each.step, each.loss) for each in found] == [(10, 1), (20, 7), (30, 8)]


def test_what_a_lost_trainer_computed_beyond_its_checkpoint_is_gone(folder: RunFolder) -> None:
    reader = SeriesReader()
    append(folder, point(10), point(20), point(30))
    assert steps(reader.points(folder)) == [10, 20, 30]
    append(folder, point(20))
    assert steps(reader.points(folder)) == [10, 20]


def test_a_torn_last_line_is_read_once_it_is_whole(folder: RunFolder) -> None:
    reader = SeriesReader()
    line = point(20).model_dump_json()
    append(folder, point(10))
    with folder.series.open("a") as file:
        file.write(line[:30])
    assert steps(reader.points(folder)) == [10]
    with folder.series.open("a") as file:
        file.write(line[30:] + "\n")
    assert steps(reader.points(folder)) == [10, 20]


def test_a_series_that_began_anew_is_read_anew(folder: RunFolder) -> None:
    reader = SeriesReader()
    append(folder, point(10), point(20))
    reader.points(folder)
    folder.series.unlink()
    append(folder, point(5))
    assert steps(reader.points(folder)) == [5]


def test_only_a_few_series_stay_in_memory_and_the_others_are_read_again(tmp_path: Path) -> None:
    reader = SeriesReader(kept=1)
    folders = [RunFolder(tmp_path / name) for name in ("a", "b")]
    for each in folders:
        append(each, point(1))
    assert [steps(reader.points(each)) for each in (*folders, *folders)] == [[1]] * 4


def test_a_value_that_is_no_number_is_null_in_the_answer(folder: RunFolder) -> None:
    append(folder, point(1, float("nan")), point(2, float("inf")), point(3, 0.5))
    assert view("r", SeriesReader().points(folder)).loss == [None, None, 0.5]


@given(st.lists(st.floats(0, 100), max_size=200), st.integers(2, 50))
def test_thinning_keeps_ends_extremes_order_and_the_limit(losses: list[float], most: int) -> None:
    points = [point(step, loss) for step, loss in enumerate(losses)]
    kept = thinned(points, most)
    assert len(kept) <= most or len(kept) == len(points)
    assert steps(kept) == sorted(set(steps(kept)))
    assert all(each in points for each in kept)
    if points:
        assert (kept[0], kept[-1]) == (points[0], points[-1])
    if points and most >= 4:
        assert max(each.loss for each in kept) == max(losses)
        assert min(each.loss for each in kept) == min(losses)


def test_a_diverged_point_counts_as_a_peak(folder: RunFolder) -> None:
    points: list[Any] = [point(step, 1.0) for step in range(100)]
    points[50] = point(50, float("nan"))
    assert 50 in steps(thinned(points, 10))
