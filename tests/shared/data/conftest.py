"""Small data sets in the official layouts, and a volume to keep derived files on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from shared.layout import Volume

NAMES10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def records(count: int, *, seed: int) -> npt.NDArray[np.uint8]:
    """CIFAR-10 records of random pictures: uint8 [count, 3073]."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (count, 3073), dtype=np.uint8)
    rows[:, 0] = rng.integers(0, 10, count)
    return rows


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "volume")


@pytest.fixture(scope="session")
def write_cifar10() -> Callable[..., Path]:
    """Writes a small CIFAR-10 into a folder: training files, one for testing, and the names."""

    def write(folder: Path, *, train: tuple[int, ...] = (7, 5), test: int = 4) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number, count in enumerate(train, start=1):
            (folder / f"data_batch_{number}.bin").write_bytes(records(count, seed=number).tobytes())
        (folder / "test_batch.bin").write_bytes(records(test, seed=99).tobytes())
        (folder / "batches.meta.txt").write_text("\n".join(NAMES10) + "\n\n")
        return folder

    return write


@pytest.fixture
def cifar10(write_cifar10: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with 7 + 5 records for training and 4 for testing."""
    return write_cifar10(tmp_path / "cifar")
