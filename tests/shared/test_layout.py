import pytest

from shared.errors import InputError
from shared.layout import Volume, listed_steps


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
