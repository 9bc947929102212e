"""What docker/stack makes on first use, with a Docker engine that does nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.keys import SCOPES, read_keys


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    copied = tmp_path / "checkout"
    shutil.copytree(root / "docker", copied / "docker", ignore=shutil.ignore_patterns("secrets", "host"))
    (copied / "docker/secrets").mkdir()
    engine = tmp_path / "bin" / "docker"
    engine.parent.mkdir()
    engine.write_text("#!/bin/sh\nexit 0\n")
    engine.chmod(0o755)
    return copied


def stack(checkout: Path) -> None:
    path = f"{checkout.parent / 'bin'}:{os.environ['PATH']}"
    subprocess.run([checkout / "docker/stack", "ps"], env={"PATH": path}, check=True, timeout=60)


def test_the_operators_key_opens_everything_and_only_its_hash_is_where_the_gateway_looks(checkout: Path) -> None:
    stack(checkout)
    secret = (checkout / "docker/secrets/operator-key").read_text().strip()
    file = checkout / "docker/secrets/gateway/keys.json"
    key = read_keys(file).find(secret)
    assert key is not None
    assert (key.name, key.scopes) == ("operator", SCOPES)
    assert len(secret) == len("tandem_") + 43
    assert secret not in file.read_text()


def test_the_gateway_may_read_its_folder_and_nobody_but_the_operator_the_secrets(checkout: Path) -> None:
    stack(checkout)
    secrets = checkout / "docker/secrets"
    modes = {
        path: (secrets / path).stat().st_mode & 0o777 for path in (".", "operator-key", "gateway", "gateway/keys.json")
    }
    assert modes == {".": 0o700, "operator-key": 0o600, "gateway": 0o755, "gateway/keys.json": 0o644}


def test_what_was_made_once_stays(checkout: Path) -> None:
    stack(checkout)
    before = (checkout / "docker/secrets/operator-key").read_text()
    stack(checkout)
    assert (checkout / "docker/secrets/operator-key").read_text() == before
