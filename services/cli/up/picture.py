"""One picture of a test split, as a PNG file that a person can look at and the gateway can classify."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from shared import atomic
from shared.data.examples import Dataset


@dataclass(frozen=True)
class TestPicture:
    """A test picture: where it lies, its number in the test split, and the class that its label names."""

    __test__ = False

    path: Path
    number: int
    label: str
    data: bytes


def write_test_picture(dataset: Dataset, folder: Path, *, number: int) -> TestPicture:
    """Writes test picture `number` (counted on from 0, and round again at the end) into `folder` as PNG."""
    number %= len(dataset.test)
    images, labels = dataset.test.gather(np.array([number], np.int64))
    buffer = io.BytesIO()
    Image.fromarray(images[0]).save(buffer, format="PNG")
    label = dataset.classes[int(labels[0])]
    path = folder / f"{dataset.kind}-test-{number}.png"
    atomic.replace_file(path, buffer.getvalue())
    return TestPicture(path=path, number=number, label=label, data=buffer.getvalue())
