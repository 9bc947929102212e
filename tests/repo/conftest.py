"""The files of the repository, as Git knows them or, in an export without Git, as they lie there."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MADE = {"build", "dist", "volume", "data", "__pycache__"}


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """Every file of the repository, relative to its root."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file() and _is_source(path)]
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [Path(name) for name in names if (ROOT / name).is_file()]


def _is_source(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return parts[0] == ".ci" or not any(
        part in MADE or part.endswith(".egg-info") or (part.startswith(".") and part != ".gitignore") for part in parts
    )
