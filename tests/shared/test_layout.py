from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputError
from shared.layout import Volume, listed_steps
from shared.spec import ema_kind


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "A", "a\n", "a\0", "-a", "x" * 81, "ä"])
def test_no_identifier_leads_out_of_the_volume(tmp_path, name):
    with pytest.raises(InputError):
        Volume(tmp_path).run(name)
    with pytest.raises(InputError):
        Volume(tmp_path).slot(name)


@pytest.mark.parametrize("kind", ["raw/../x", "ema", "ema-", "ema-1", "ema-0.9/..", "RAW"])
def test_no_kind_of_weights_leads_out_of_the_run(tmp_path, kind):
    with pytest.raises(InputError):
        Volume(tmp_path).run("a").verdict(1, kind)


@given(st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True))
def test_every_decay_that_a_spec_allows_names_a_verdict(decay):
    kind = ema_kind(decay)
    assert Volume(Path("volume")).run("a").verdict(1, kind).name == f"{kind}.json"


def test_runs_without_a_spec_are_not_listed(tmp_path):
    volume = Volume(tmp_path)
    assert list(volume.run_folders()) == []
    for name in ("b", "a", "c"):
        volume.run(name).root.mkdir(parents=True)
    for name in ("b", "a"):
        volume.run(name).spec.touch()
    (volume.runs / ".tmp-d").mkdir()
    assert [folder.id for folder in volume.run_folders()] == ["a", "b"]


def test_steps_of_a_missing_folder_are_none(tmp_path):
    assert listed_steps(tmp_path / "missing") == []
