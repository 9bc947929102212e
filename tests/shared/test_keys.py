"""API keys are kept as hashes, found by their secrets, and revoked by name."""

import json
from pathlib import Path

import pytest

from shared.errors import ConflictError, CorruptRecordError, InputError, NotFoundError, NotWritableError
from shared.keys import SCOPES, create_key, digest, read_keys, revoke_key


def make(path: Path, name: str = "ci", *scopes: str) -> str:
    return create_key(path, name=name, scopes=scopes or ("read",), clock=lambda: 12.0)  # type: ignore[arg-type]


def test_a_key_file_keeps_a_hash_and_never_the_secret(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secret = make(path)
    text = path.read_text()
    assert secret not in text
    assert secret.removeprefix("tandem_") not in text
    assert json.loads(text)["keys"] == [{"name": "ci", "scopes": ["read"], "sha256": digest(secret), "created": 12.0}]
    assert secret not in repr(read_keys(path))


def test_a_secret_has_256_random_bits_and_none_is_made_twice(tmp_path: Path) -> None:
    secrets = {make(tmp_path / "keys.json", f"key-{number}") for number in range(20)}
    assert len(secrets) == 20
    assert all(len(secret.removeprefix("tandem_")) == 43 for secret in secrets)


def test_a_key_is_found_by_its_secret_among_others(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secrets = {name: make(path, name, "control", "read") for name in ("a", "b", "c")}
    keys = read_keys(path)
    for name, secret in secrets.items():
        found = keys.find(secret)
        assert found is not None
        assert (found.name, found.scopes) == (name, ("read", "control"))
    assert keys.find("tandem_" + "a" * 43) is None
    assert keys.find("") is None
    assert keys.find(secrets["a"] + "x") is None


def test_every_hash_is_compared_whole_and_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.json"
    first = make(path, "a")
    make(path, "b")
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    keys = read_keys(path)
    keys.find(first)
    assert len(compared) == 2
    assert all(len(one) == len(other) == 64 for one, other in compared)


def test_a_revoked_key_is_found_no_more_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    gone, stays = make(path, "gone"), make(path, "stays")
    revoke_key(path, "gone")
    assert read_keys(path).find(gone) is None
    assert read_keys(path).find(stays) is not None
    with pytest.raises(NotFoundError, match="There are: stays"):
        revoke_key(path, "gone")


def test_two_keys_never_have_one_name(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    make(path, "ci")
    with pytest.raises(ConflictError, match="'ci' already"):
        make(path, "ci")
    text = json.loads(path.read_text())
    path.write_text(json.dumps({"keys": text["keys"] * 2}))
    with pytest.raises(CorruptRecordError, match="same name"):
        read_keys(path)


def test_a_file_that_anybody_may_write_to_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    make(path)
    path.chmod(0o666)
    with pytest.raises(InputError, match="chmod o-w"):
        read_keys(path)


def test_revoking_makes_no_file_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such key file"):
        revoke_key(tmp_path / "keys.json", "ci")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritableError, match=r"file/keys\.json"):
        make(tmp_path / "file" / "keys.json")


def test_there_are_three_scopes() -> None:
    assert SCOPES == ("read", "predict", "control")
