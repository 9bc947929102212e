from pathlib import Path

import pytest

from services.trainer.command import create_spec, parse_arguments
from shared.errors import NotFoundError, SpecError
from shared.layout import RunFolder
from shared.records import (
    Assignment,
    Desired,
    SlotRecord,
    TrainerStatus,
    read_record,
    read_record_or_none,
    write_record,
)
from shared.spec import RunSpec
from tests.trainer.runs import Trainer, small_spec


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


def assign(trainer: Trainer, fence: int) -> None:
    write_record(trainer.volume.slot("a").assignment, Assignment(run=trainer.folder.id, fence=fence, time=0.0))


@pytest.mark.parametrize("phase", ["completed", "stopped", "failed", "yielded"])
def test_a_slot_that_is_started_again_with_an_assignment_that_was_carried_out_only_looks_at_its_devices(
    trainer: Trainer, phase: str
) -> None:
    if phase == "failed":
        trainer.folder.spec.write_text("{}{")
    else:
        turns = {"sharing": {"kind": "alternate", "every_steps": 15}} if phase == "yielded" else {}
        trainer.write_spec(small_spec(**turns))
    if phase == "stopped":
        write_record(trainer.folder.desired, Desired(generation=1, state="stopped", time=0.0))
    assign(trainer, 1)
    trainer.train(slot="a")
    before = trainer.folder.status.read_bytes()
    assert trainer.status().phase == phase
    trainer.volume.slot("a").record.unlink(missing_ok=True)

    again = Trainer(trainer.volume, trainer.folder)
    assert again.train(slot="a") == 0

    assert again.engine is None
    assert again.folder.status.read_bytes() == before
    assert read_record_or_none(again.volume.slot("a").record, SlotRecord) is not None


def test_a_slot_whose_trainer_was_killed_goes_on_with_its_assignment(trainer: Trainer) -> None:
    assign(trainer, 1)
    trainer.train(slot="a")
    killed = trainer.status().model_copy(update={"phase": "running", "step": 20})
    write_record(trainer.folder.status, killed)
    again = Trainer(trainer.volume, trainer.folder)
    again.train(slot="a")
    assert again.engine is not None
    assert again.status().phase == "completed"


def test_a_new_number_is_a_new_assignment(trainer: Trainer) -> None:
    assign(trainer, 1)
    trainer.train(slot="a")
    write_record(trainer.folder.desired, Desired(generation=1, state="running", steps=60, time=0.0))
    assign(trainer, 2)
    again = Trainer(trainer.volume, trainer.folder)
    again.train(slot="a")
    assert (again.status().fence, again.status().step) == (2, 60)


@pytest.mark.parametrize("arguments", [[], ["--slot", "a", "--run", "b"], ["--slot", "a", "--recipe", "r.yaml"]])
def test_flags_that_contradict_each_other_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(arguments)
    assert caught.value.code == 2
