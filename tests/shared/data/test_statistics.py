import numpy as np
import pytest

from shared.data.examples import ArrayExamples
from shared.data.statistics import channel_statistics


def examples(images: np.ndarray) -> ArrayExamples:
    return ArrayExamples(images, np.zeros(len(images), np.int32))


def test_statistics_are_those_of_all_pixels_of_a_channel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
    images[..., 2] //= 3
    statistics = channel_statistics(examples(images))
    assert statistics.mean == pytest.approx(images.mean(axis=(0, 1, 2)))
    assert statistics.deviation == pytest.approx(images.std(axis=(0, 1, 2)))


def test_the_chunks_that_are_read_make_no_difference_in_any_bit() -> None:
    images = np.random.default_rng(1).integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
    assert len({channel_statistics(examples(images), chunk=chunk) for chunk in (1, 7, 50, 1000)}) == 1


def test_a_channel_that_never_varies_has_the_deviation_one() -> None:
    assert channel_statistics(examples(np.full((4, 2, 2, 3), 9, np.uint8))).deviation == (1.0, 1.0, 1.0)
