import json
from collections.abc import Callable
from pathlib import Path

import pytest

from services.gateway.predict.store import ExportStore
from shared.errors import NotFoundError, TandemError, UnavailableError

OLD, NEW, NEWEST = "20260101-000000-a-0001", "20260102-000000-a-0002", "20260103-000000-b-0003"


def test_best_is_the_newest_run_that_has_an_export(models) -> None:
    models.export(OLD, 10, precision=0.9)
    models.export(NEW, 5, precision=0.2)
    models.add_run(NEWEST)
    assert ExportStore(models.volume).scan().resolve("best").id == NEW


def test_export_of_higher_precision_comes_first_and_of_equal_ones_the_earlier(models) -> None:
    for step, precision in ((10, 0.5), (20, 0.7), (30, 0.7), (40, 0.6)):
        models.export(OLD, step, precision=precision)
    run = ExportStore(models.volume).scan().resolve(OLD)
    assert [export.manifest.step for export in run.exports] == [20, 30, 40, 10]


def test_name_means_its_newest_run_that_has_an_export(models) -> None:
    models.add_run(OLD, name="flowers")
    models.add_run(NEW, name="flowers")
    models.add_run(NEWEST, name="flowers")
    models.export(OLD, 1)
    models.export(NEW, 1)
    assert ExportStore(models.volume).scan().resolve("flowers").id == NEW


def test_run_named_best_does_not_take_the_word_over(models) -> None:
    models.add_run(OLD, name="best")
    models.export(OLD, 1)
    models.export(NEW, 1)
    assert ExportStore(models.volume).scan().resolve("best").id == NEW


def test_id_of_a_run_goes_before_the_name_of_another(models) -> None:
    models.add_run(NEW, name=OLD)
    models.export(NEW, 1)
    models.export(OLD, 1)
    assert ExportStore(models.volume).scan().resolve(OLD).id == OLD


@pytest.mark.parametrize("name", ["nobody", "../x", "", "x" * 1000, "é", "\x00"])
def test_unknown_model_is_not_found(models, name: str) -> None:
    models.export(OLD, 1)
    with pytest.raises(NotFoundError):
        ExportStore(models.volume).scan().resolve(name)


@pytest.mark.parametrize("name", ["best", OLD, "flowers"])
def test_run_without_export_is_unavailable_for_now(models, name: str) -> None:
    models.add_run(OLD, name="flowers")
    with pytest.raises(UnavailableError):
        ExportStore(models.volume).scan().resolve(name)


def test_empty_volume_has_no_models(tmp_path: Path, models) -> None:
    catalog = ExportStore(models.volume).scan()
    assert catalog.runs == ()
    with pytest.raises(UnavailableError, match="judged"):
        catalog.resolve("best")


def test_export_that_comes_or_goes_is_seen_at_the_next_scan(models) -> None:
    store = ExportStore(models.volume)
    first = models.export(OLD, 1)
    assert [export.manifest.step for export in store.scan().resolve(OLD).exports] == [1]
    models.export(OLD, 2)
    assert [export.manifest.step for export in store.scan().resolve(OLD).exports] == [1, 2]
    first.rename(first.parent / ".trash-1")
    assert [export.manifest.step for export in store.scan().resolve(OLD).exports] == [2]


def _no_json(path: Path) -> None:
    path.write_text("{")


def _other_version(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))


def _other_run(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "run": NEW}))


def _no_number(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "precision_at_1": "NaN"}))


@pytest.mark.parametrize("spoil", [_no_json, _other_version, _other_run, _no_number, Path.unlink])
def test_export_with_a_bad_manifest_is_reported_by_its_file_and_passed_over(
    models, spoil: Callable[[Path], None]
) -> None:
    models.export(OLD, 1, precision=0.1)
    path = models.export(OLD, 2, precision=0.9) / "manifest.json"
    spoil(path)
    problems: list[TandemError] = []
    store = ExportStore(models.volume, on_problem=problems.append)
    assert [export.manifest.step for export in store.scan().resolve(OLD).exports] == [1]
    store.scan()
    assert [problem.where for problem in problems] == [str(path)]


@pytest.mark.parametrize("size", [0, 10, None])
def test_export_whose_manifest_comes_later_than_its_folder_is_found(models, size: int | None) -> None:
    path = models.export(OLD, 1) / "manifest.json"
    whole = path.read_bytes()
    path.unlink()
    if size is not None:
        path.write_bytes(whole[:size])
    store = ExportStore(models.volume)
    for _ in range(2):
        assert store.scan().run(OLD).exports == ()
    path.write_bytes(whole)
    assert [export.manifest.step for export in store.scan().resolve(OLD).exports] == [1]


def test_run_whose_spec_was_half_copied_has_its_name_once_that_is_whole(models) -> None:
    models.add_run(OLD, name="flowers")
    models.export(OLD, 1)
    path = models.volume.run(OLD).spec
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    store = ExportStore(models.volume)
    assert store.scan().resolve(OLD).name is None
    path.write_bytes(whole)
    assert store.scan().resolve("flowers").id == OLD


def test_run_with_a_bad_spec_still_serves_by_its_id(models) -> None:
    models.export(OLD, 1)
    models.volume.run(OLD).spec.write_text("{")
    catalog = ExportStore(models.volume).scan()
    assert catalog.resolve(OLD).name is None


def test_a_step_after_the_name_means_that_export_and_no_other(models) -> None:
    models.export(OLD, 10, precision=0.9)
    models.export(OLD, 20, precision=0.5)
    catalog = ExportStore(models.volume).scan()
    for name in (f"{OLD}@20", "run@20", "best@20"):
        found = catalog.resolve(name)
        assert (found.id, found.aimed(), [each.manifest.step for each in found.exports]) == (OLD, 20, [20])
    with pytest.raises(
        NotFoundError, match="there is neither an export of step '15' nor an alias of that name"
    ) as told:
        catalog.resolve(f"{OLD}@15")
    assert told.value.where == f"run {OLD}"
