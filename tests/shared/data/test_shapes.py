import numpy as np
import pytest

from shared.data.catalog import open_dataset
from shared.data.shapes import CLASSES, generate
from shared.layout import Volume
from shared.spec import DatasetSpec


def drawn(*, seed: int = 0, split: int = 0, examples: int) -> tuple[np.ndarray, np.ndarray]:
    pairs = list(generate(seed=seed, split=split, examples=examples))
    return np.concatenate([images for images, _ in pairs]), np.concatenate([labels for _, labels in pairs])


def test_same_seed_draws_the_same_pictures_and_another_seed_or_split_others():
    images, labels = drawn(seed=3, examples=50)
    again, same = drawn(seed=3, examples=50)
    assert np.array_equal(images, again) and np.array_equal(labels, same)
    assert not np.array_equal(images, drawn(seed=4, examples=50)[0])
    assert not np.array_equal(images, drawn(seed=3, split=1, examples=50)[0])


def test_longer_split_begins_with_the_shorter():
    short, long = drawn(examples=700), drawn(examples=1_300)
    assert np.array_equal(long[0][:700], short[0]) and np.array_equal(long[1][:700], short[1])
    assert not np.array_equal(long[0][1_000:1_300], long[0][:300])


def test_classes_are_equally_frequent_in_every_thousand():
    _, labels = drawn(examples=2_000)
    assert (np.bincount(labels[:1_000]) == 100).all() and (np.bincount(labels[1_000:]) == 100).all()
    assert len(CLASSES) == 10 and len(set(labels[:200].tolist())) == 10  # and not one after another


def test_no_two_pictures_are_equal():
    images, _ = drawn(examples=2_000)
    assert len({image.tobytes() for image in images}) == 2_000


def test_opened_from_the_volume_it_is_what_the_generator_draws(volume: Volume):
    spec = DatasetSpec(kind="shapes", seed=5, train_examples=30, test_examples=20)
    dataset = open_dataset(spec, volume=volume)
    images, labels = dataset.test.gather(np.arange(20))
    expected, expected_labels = drawn(seed=5, split=1, examples=20)
    assert np.array_equal(images, expected) and np.array_equal(labels, expected_labels)
    assert (len(dataset.train), len(dataset.test), dataset.train.image_shape) == (30, 20, (32, 32, 3))


def test_fingerprint_follows_the_spec(volume: Volume):
    def fingerprint(**changes: int) -> str:
        values = {"train_examples": 20, "test_examples": 20, **changes}
        return open_dataset(DatasetSpec(kind="shapes", **values), volume=volume).fingerprint

    assert fingerprint() == fingerprint()
    assert len({fingerprint(), fingerprint(seed=1), fingerprint(train_examples=21), fingerprint(test_examples=21)}) == 4


@pytest.fixture(scope="module")
def pixels() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Standardised pixels and labels: 8,000 to train on, 2,000 to judge with."""
    images, labels = drawn(examples=8_000)
    test_images, test_labels = drawn(split=1, examples=2_000)

    def standardised(pictures: np.ndarray) -> np.ndarray:
        rows = pictures.reshape(len(pictures), -1).astype(np.float32)
        rows -= rows.mean(axis=1, keepdims=True)
        return rows / rows.std(axis=1, keepdims=True)

    return standardised(images), labels, standardised(test_images), test_labels


def test_linear_model_on_pixels_stays_far_below_sixty_percent(pixels):
    x, labels, test_x, test_labels = pixels
    targets = np.eye(10, dtype=np.float32)[labels] - 0.1
    # The best ridge regression of several, chosen on the test set itself: an upper bound, if anything.
    gram, cross = x.T @ x, x.T @ targets
    accuracies = [
        (
            np.argmax(test_x @ np.linalg.solve(gram + ridge * np.eye(len(gram), dtype=np.float32), cross), 1)
            == test_labels
        ).mean()
        for ridge in (1e2, 1e3, 1e4)
    ]
    assert max(accuracies) < 0.45


def test_logistic_regression_on_pixels_stays_far_below_sixty_percent(pixels):
    x, labels, test_x, test_labels = pixels
    weights, rng = np.zeros((x.shape[1], 10), np.float32), np.random.default_rng(0)
    targets = np.eye(10, dtype=np.float32)[labels]
    for _ in range(10):
        order = rng.permutation(len(x)).reshape(-1, 100)
        for batch in order:
            logits = x[batch] @ weights
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            gradient = x[batch].T @ (odds / odds.sum(axis=1, keepdims=True) - targets[batch]) / len(batch)
            weights -= 0.01 * gradient
    assert np.mean(np.argmax(x @ weights, 1) == labels) > 0.25  # it did learn what there was to learn
    assert np.mean(np.argmax(test_x @ weights, 1) == test_labels) < 0.45


def test_figures_stand_out_from_their_ground():
    # The distance of a class's mean outline from flat ground, over many pictures: each figure is visible.
    images, labels = drawn(examples=1_000)
    spread = images.astype(np.float32).std(axis=(1, 2)).mean(axis=1)
    for label in range(10):
        assert spread[labels == label].mean() > 20
