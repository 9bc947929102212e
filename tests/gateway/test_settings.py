import sys
from pathlib import Path

import pytest

from services.gateway.settings import GatewaySettings
from shared.errors import SettingsError
from shared.settings import load_settings


def test_a_trainer_is_started_with_this_python_by_default() -> None:
    settings = load_settings(GatewaySettings, volume=Path("/data/my volume"))
    assert settings.trainer_command("slot-0") == [
        *(sys.executable, "-m", "services.trainer", "--volume", "/data/my volume", "--slot", "slot-0"),
    ]


def test_a_trainers_command_line_can_be_wrapped() -> None:
    command = "nice -n 5 '{python}' -m services.trainer --volume {volume} --slot {slot}"
    settings = load_settings(GatewaySettings, gateway_trainer_command=command)
    assert settings.trainer_command("slot-1")[:3] == ["nice", "-n", "5"]


@pytest.mark.parametrize("command", ["{gpu}", "{}", "'open"])
def test_a_command_line_that_cannot_be_filled_in_is_refused(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_GATEWAY_TRAINER_COMMAND", command)
    with pytest.raises(SettingsError, match="TANDEM_GATEWAY_TRAINER_COMMAND"):
        load_settings(GatewaySettings)


def test_it_listens_to_this_machine_alone_by_default() -> None:
    assert load_settings(GatewaySettings).gateway_host == "127.0.0.1"
