from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import Settings, load_settings


class Mine(Settings):
    mine_threads: int = 1


def test_a_setting_is_read_from_its_variable_and_a_flag_wins(monkeypatch):
    monkeypatch.setenv("TANDEM_MINE_THREADS", "3")
    monkeypatch.setenv("TANDEM_VOLUME", "/srv/tandem")
    assert load_settings(Mine, volume=None) == Mine(mine_threads=3, volume=Path("/srv/tandem"))
    assert load_settings(Mine, mine_threads=4).mine_threads == 4


def test_a_bad_value_names_the_variable_or_the_flag(monkeypatch):
    monkeypatch.setenv("TANDEM_MINE_THREADS", "three")
    with pytest.raises(SettingsError, match=r"TANDEM_MINE_THREADS: .*integer"):
        load_settings(Mine)
    with pytest.raises(SettingsError, match="--log-level"):
        load_settings(Mine, log_level="loud", mine_threads=1)
