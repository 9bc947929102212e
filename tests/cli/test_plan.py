"""What `tandem up` decides to train, with and without CIFAR-10 at hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.cli.up.plan import Planner
from shared.errors import DatasetCorruptError, DatasetMissingError, DownloadError, NotFoundError, SpecError
from shared.spec import DatasetSpec


def missing(_spec: DatasetSpec) -> None:
    raise DatasetMissingError("is not here")


def only_shapes(spec: DatasetSpec) -> None:
    if spec.kind != "shapes":
        raise DatasetMissingError("is not here")


def offline() -> None:
    raise DownloadError("no way out")


def unexpected() -> None:
    raise AssertionError("nothing was to be fetched")


def planner(
    check: Callable[[DatasetSpec], object] = lambda _: None,
    fetch: Callable[[], object] = unexpected,
    cifar10: Path | None = None,
) -> Planner:
    return Planner(check=check, fetch=fetch, cifar10=cifar10)


def test_cifar10_on_the_volume_is_taken_without_a_word() -> None:
    plan = planner().plan(recipe=None, data=None, steps=None)
    assert (plan.recipe, plan.changes, plan.note, plan.spec.name) == ("cifar10", {}, None, "cifar10")


@pytest.mark.parametrize(("recipe", "planned"), [(None, "cifar10-best"), ("cifar10-fast", "cifar10-fast")])
def test_on_a_gpu_the_best_network_is_the_default_and_no_more_than_that(recipe: str | None, planned: str) -> None:
    plans = Planner(check=lambda _: None, fetch=unexpected, cifar10=None, gpu=True)
    assert plans.plan(recipe=recipe, data=None, steps=None).recipe == planned


def test_folder_of_the_environment_is_taken_before_the_volume() -> None:
    plan = planner(cifar10=Path("/photographs")).plan(recipe=None, data=None, steps=20)
    assert plan.changes == {"steps": 20, "dataset": {"path": "/photographs"}}


def test_named_data_is_taken_before_the_environment() -> None:
    plan = planner(cifar10=Path("/photographs")).plan(recipe="cifar10-tutorial", data=Path("/mine"), steps=None)
    assert plan.spec.dataset.path == "/mine"


def test_relative_data_is_made_absolute_because_the_trainer_runs_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert planner().plan(recipe=None, data=Path("mine"), steps=None).spec.dataset.path == str(tmp_path / "mine")


def test_missing_cifar10_is_fetched_and_checked() -> None:
    events: list[str] = []

    def check(_spec: DatasetSpec) -> None:
        events.append("check")
        if "fetch" not in events:
            raise DatasetMissingError("is not here")

    plan = planner(check, lambda: events.append("fetch")).plan(recipe=None, data=None, steps=None)
    assert (plan.spec.dataset.kind, events) == ("cifar10", ["check", "fetch", "check"])


def test_without_a_way_out_the_shapes_take_its_place_and_one_line_says_so() -> None:
    plan = planner(missing, offline).plan(recipe=None, data=None, steps=30)
    assert (plan.recipe, plan.changes, plan.spec.dataset.kind) == ("shapes", {"steps": 30}, "shapes")
    assert plan.note is not None and "no way out" in plan.note and "shapes" in plan.note and "\n" not in plan.note


def test_named_recipe_keeps_its_training_and_its_run_is_named_for_its_other_pictures() -> None:
    plan = planner(missing, offline).plan(recipe="cifar10-tutorial", data=None, steps=None)
    assert (plan.recipe, plan.spec.name, plan.spec.dataset.kind) == (
        "cifar10-tutorial",
        "cifar10-tutorial-shapes",
        "shapes",
    )
    assert plan.spec.steps == 1_000_000 and plan.note is not None


def test_named_data_that_is_missing_is_an_error_and_never_replaced() -> None:
    with pytest.raises(DatasetMissingError):
        planner(only_shapes).plan(recipe=None, data=Path("/mine"), steps=None)


def test_folder_of_the_environment_that_is_missing_is_an_error() -> None:
    with pytest.raises(DatasetMissingError):
        planner(only_shapes, cifar10=Path("/photographs")).plan(recipe=None, data=None, steps=None)


def test_damaged_data_is_an_error_and_never_replaced() -> None:
    def damaged(_spec: DatasetSpec) -> None:
        raise DatasetCorruptError("3072 bytes too short")

    with pytest.raises(DatasetCorruptError):
        planner(damaged).plan(recipe=None, data=None, steps=None)


def test_shapes_need_nothing() -> None:
    plan = planner(only_shapes, cifar10=Path("/photographs")).plan(recipe="shapes", data=None, steps=None)
    assert (plan.spec.name, plan.note) == ("shapes", None)


def test_recipe_of_the_users_own_is_sent_whole(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nsteps: 5\ndataset: {kind: shapes}\n")
    plan = planner().plan(recipe=str(path), data=None, steps=7)
    assert (plan.recipe, plan.changes) == (None, {"name": "mine", "steps": 7, "dataset": {"kind": "shapes"}})


def test_unknown_key_of_a_recipe_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("optimizer: {momentun: 0.9}\n")
    with pytest.raises(SpecError, match=r"mine\.yaml: optimizer\.momentun.*unknown key"):
        planner().plan(recipe=str(path), data=None, steps=None)


def test_negative_steps_are_refused_before_anything_is_opened() -> None:
    with pytest.raises(SpecError, match="steps"):
        planner(missing).plan(recipe="shapes", data=None, steps=-1)


def test_unknown_recipe_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(NotFoundError, match="cifar10-tutorial"):
        planner().plan(recipe="cifar11", data=None, steps=None)
