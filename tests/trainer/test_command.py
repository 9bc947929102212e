from pathlib import Path

import pytest

from services.trainer.command import create_spec, parse_arguments
from shared.errors import NotFoundError, SpecError
from shared.layout import RunFolder
from shared.records import TrainerStatus, read_record
from shared.spec import RunSpec
from tests.trainer.runs import Trainer


def recipe(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_recipe_makes_the_runs_spec(folder: RunFolder, tmp_path: Path) -> None:
    create_spec(folder, recipe=recipe(tmp_path, "steps: 30\n"))

    assert read_record(folder.spec, RunSpec) == RunSpec(steps=30)


def test_a_run_that_is_there_keeps_its_spec(folder: RunFolder, tmp_path: Path) -> None:
    create_spec(folder, recipe=recipe(tmp_path, "steps: 30\n"))
    create_spec(folder, recipe=recipe(tmp_path, "steps: 30\n"))

    with pytest.raises(SpecError, match="steps: was 30, is 40"):
        create_spec(folder, recipe=recipe(tmp_path, "steps: 40\n"))
    assert read_record(folder.spec, RunSpec).steps == 30


def test_a_bad_recipe_names_file_and_field_and_makes_nothing(folder: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"recipe\.yaml: optimizer\.momentun: .*unknown key"):
        create_spec(folder, recipe=recipe(tmp_path, "optimizer: {momentun: 0.9}\n"))

    assert not folder.root.exists()


def test_a_run_that_is_not_there_is_named_and_not_made(trainer: Trainer) -> None:
    trainer.folder = trainer.volume.run("other")

    with pytest.raises(NotFoundError, match="other"):
        trainer.train()
    assert not trainer.folder.root.exists()


def test_a_damaged_spec_fails_the_run_and_names_the_field(trainer: Trainer) -> None:
    trainer.folder.spec.write_text('{"steps": -1}')

    assert trainer.train() == 1

    failure = read_record(trainer.folder.status, TrainerStatus).failure
    assert failure is not None
    assert str(failure["message"]).startswith("steps:")
    assert failure["where"] == str(trainer.folder.spec)


@pytest.mark.parametrize("arguments", [[], ["--slot", "a", "--run", "b"], ["--slot", "a", "--recipe", "r.yaml"]])
def test_flags_that_contradict_each_other_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(arguments)
    assert caught.value.code == 2
