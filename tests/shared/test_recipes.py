"""Every recipe that comes with tandem is a valid spec, and is found by its name."""

from pathlib import Path

import pytest

from shared.errors import NotFoundError, SpecError
from shared.recipes import FOLDER, load, load_recipe, recipe_names
from shared.spec import ExponentialRate, RunSpec, parse_spec


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_is_a_valid_spec_named_like_its_file(name: str) -> None:
    assert parse_spec(load(name), source=name).name == name


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_says_why_in_its_first_line(name: str) -> None:
    assert (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")


def test_the_recipes_that_the_documentation_names_are_there() -> None:
    assert {"cifar10-tutorial", "cifar10", "shapes"} <= set(recipe_names())


def test_tutorial_recipe_has_the_figures_of_the_tutorial() -> None:
    spec = parse_spec(load("cifar10-tutorial"), source="cifar10-tutorial")
    assert (spec.steps, spec.batch_size, spec.model.name) == (1_000_000, 128, "tutorial")
    assert spec.learning_rate == ExponentialRate(initial=0.1, factor=0.1, every_epochs=350, staircase=True)
    assert spec.ema.decays == (0.9999,)
    assert (spec.cadence.log_steps, spec.cadence.checkpoint_steps) == (10, 1000)
    assert spec.optimizer.momentum == 0.0
    assert spec == RunSpec(name="cifar10-tutorial"), "the tutorial's figures are the defaults"


def test_unknown_recipe_is_named_with_those_that_there_are() -> None:
    with pytest.raises(NotFoundError, match=r"no recipe 'cifar11'.*cifar10-tutorial"):
        load("cifar11")


@pytest.mark.parametrize("name", ["../recipes/shapes", "/etc/passwd", "shapes.yaml", "", "shapes\n"])
def test_a_recipe_is_a_name_and_never_a_path(name: str) -> None:
    with pytest.raises(NotFoundError):
        load(name)


def test_recipe_that_is_no_mapping_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(SpecError, match=r"list\.yaml"):
        load("list", tmp_path)


def test_no_folder_means_no_recipes(tmp_path: Path) -> None:
    assert recipe_names(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("text", "problem"), [("- a", "mapping"), ("a: [", "not YAML"), ("!!python/object:os.x {}", "not YAML")]
)
def test_a_recipe_that_is_no_mapping_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=problem) as caught:
        load_recipe(path)
    assert caught.value.where == str(path)
    with pytest.raises(SpecError, match="no such recipe"):
        load_recipe(tmp_path / "other.yaml")
