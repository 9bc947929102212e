"""`tandem keys` works on a key file, with no gateway."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.keys import read_keys
from tests.cli.terminal import Terminal


def keys(*arguments: str, **settings: Any) -> tuple[int, Terminal]:
    terminal = Terminal(**settings)
    return terminal("keys", *arguments), terminal


def test_a_secret_is_printed_alone_on_standard_output_so_that_a_script_can_take_it(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    code, terminal = keys("create", "ci", "--scope", "control", "--scope", "read", "--file", str(file))
    (secret,) = terminal.lines
    assert code == 0
    key = read_keys(file).find(secret)
    assert key is not None
    assert (key.name, key.scopes) == ("ci", ("read", "control"))
    assert "only this once" in terminal.complaints.getvalue()


def test_the_file_may_come_from_the_gateways_own_setting(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    code, _ = keys("create", "ci", gateway_keys=file)
    assert (code, read_keys(file).keys[0].scopes) == (0, ("read",))
    code, terminal = keys("list")
    assert code == 2
    assert "TANDEM_GATEWAY_KEYS" in terminal.complaints.getvalue()


def test_keys_are_listed_without_anything_of_their_secrets(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    _, made = keys("create", "ci", "--scope", "read,predict", "--file", str(file))
    _, listed = keys("list", "--file", str(file))
    _, as_json = keys("list", "--file", str(file), "--json")
    assert listed.lines[1].split()[:3] == ["ci", "read,", "predict"]
    (key,) = json.loads("\n".join(as_json.lines))
    assert (key["name"], key["scopes"]) == ("ci", ["read", "predict"])
    assert "sha256" not in key
    assert made.lines[0] not in file.read_text()


def test_a_revoked_key_is_gone_and_cannot_be_revoked_again(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    keys("create", "ci", "--file", str(file))
    assert keys("revoke", "ci", "--file", str(file))[0] == 0
    assert read_keys(file).keys == ()
    code, terminal = keys("revoke", "ci", "--file", str(file))
    assert code == 4
    assert "no key" in terminal.complaints.getvalue()


@pytest.mark.parametrize("wrong", [["ci", "--scope", "write"], ["c i"], ["ci\n"], [""]])
def test_what_is_no_name_or_no_scope_makes_no_key(tmp_path: Path, wrong: list[str]) -> None:
    code, _ = keys("create", *wrong, "--file", str(tmp_path / "keys.json"))
    assert code == 2
    assert list(tmp_path.iterdir()) == []
