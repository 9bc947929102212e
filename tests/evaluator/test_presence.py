import itertools

import pytest

from services.evaluator.presence import Presence, take_name
from shared.errors import InputError, SettingsError
from shared.records import EvaluatorStatus, read_record


def test_names_are_taken_one_after_the_other(volume):
    assert [take_name(volume, None) for _ in range(3)] == ["evaluator", "evaluator-2", "evaluator-3"]


def test_a_name_that_another_bears_is_refused(volume):
    assert take_name(volume, "mine") == "mine"
    with pytest.raises(SettingsError, match="mine"):
        take_name(volume, "mine")


def test_what_is_no_name_is_refused(volume):
    with pytest.raises(InputError, match="an evaluator's name"):
        take_name(volume, "../elsewhere")


def test_what_a_killed_evaluator_of_the_name_left_half_written_is_removed(volume):
    folder = volume.evaluator("mine")
    folder.mkdir(parents=True)
    (folder / ".tmp-status.json-1-abcd").write_bytes(b"{")
    take_name(volume, "mine")
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_the_status_says_what_is_in_hand_and_beats(tmp_path):
    path = tmp_path / "status.json"
    presence = Presence(path=path, name="mine", versions={"tensorflow": "2"}, wall=itertools.count(1.0).__next__)
    presence.idle(backlog=7)
    presence.busy("run", 10)
    presence.beat()
    first = read_record(path, EvaluatorStatus)
    assert (first.name, first.run, first.step, first.backlog, first.versions) == (
        "mine",
        "run",
        10,
        7,
        {"tensorflow": "2"},
    )
    presence.idle(backlog=6)
    presence.beat()
    second = read_record(path, EvaluatorStatus)
    assert (second.beat, second.run, second.step, second.backlog) == (first.beat + 1, None, None, 6)
