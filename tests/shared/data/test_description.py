import os
import time
from pathlib import Path

import numpy as np
import pytest

from shared.data.catalog import open_dataset
from shared.data.description import describe
from shared.data.examples import ArrayExamples, Dataset
from shared.layout import Volume
from shared.spec import DatasetSpec


def dataset_of(images: np.ndarray, labels: np.ndarray) -> Dataset:
    split = ArrayExamples(images, labels)
    return Dataset(kind="npz", classes=("a", "b", "c"), train=split, test=split, fingerprint="f")


def test_counts_and_channel_figures_agree_with_numpy(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1_003, 8, 9, 3), dtype=np.uint8)
    images[..., 1] //= 3
    labels = rng.integers(0, 2, 1_003)
    whole = describe(dataset_of(images, labels))
    monkeypatch.setattr("shared.data.description.CHUNK_BYTES", 1_000)
    assert describe(dataset_of(images, labels)) == whole  # to the last bit, however it is cut up
    assert np.allclose(whole.mean, images.mean(axis=(0, 1, 2)), rtol=1e-12)
    assert np.allclose(whole.deviation, images.std(axis=(0, 1, 2)), rtol=1e-12)
    assert whole.train_counts == (*np.bincount(labels).tolist(), 0)
    assert whole.train_examples == whole.test_examples == 1_003
    assert whole.image_shape == (8, 9, 3) and whole.classes == ("a", "b", "c")


def test_saturated_pictures_overflow_nothing():
    images = np.full((2_000, 40, 40, 3), 255, np.uint8)
    described = describe(dataset_of(images, np.zeros(2_000, np.int64)))
    assert described.mean == (255.0, 255.0, 255.0) and described.deviation == (0.0, 0.0, 0.0)


@pytest.mark.photographs
def test_real_photographs_have_the_published_mean_and_deviation(volume: Volume):
    place = os.environ.get("TANDEM_CIFAR10_DIR")
    if not place:
        pytest.skip("TANDEM_CIFAR10_DIR names no folder with CIFAR-10 in its binary layout")
    dataset = open_dataset(DatasetSpec(path=str(Path(place))), volume=volume)
    begin = time.monotonic()
    described = describe(dataset)
    assert time.monotonic() - begin < 20
    # The figures that the literature normalises CIFAR-10 with: 0.4914, 0.4822, 0.4465 and 0.2470, 0.2435, 0.2616.
    assert np.allclose(np.array(described.mean) / 255, (0.4914, 0.4822, 0.4465), atol=2e-3)
    assert np.allclose(np.array(described.deviation) / 255, (0.2470, 0.2435, 0.2616), atol=2e-3)
    assert described.train_counts == (5_000,) * 10
