from dataclasses import fields

import numpy as np
import pytest
import tensorflow as tf

from shared.data.statistics import ChannelStatistics
from shared.errors import SpecError
from shared.ml.preprocess import RandomDraws, distort, evaluation_view, standardize, training_view, view_shape
from shared.spec import AugmentSpec

TUTORIAL = AugmentSpec()
PLAIN = AugmentSpec(crop=None, flip=False, brightness=0.0, contrast=None)
BATCH = 64


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (BATCH, 32, 32, 3), dtype=np.uint8)


def places() -> np.ndarray:
    """Pictures whose pixels say where they are: row, column, and the picture's number."""
    row, column, picture = np.meshgrid(np.arange(32), np.arange(32), np.arange(BATCH), indexing="ij")
    return np.stack([row, column, picture], axis=-1).transpose(2, 0, 1, 3).astype(np.uint8)


def draws(step: int = 0, batch_size: int = BATCH) -> RandomDraws:
    return RandomDraws.draw(seed=7, step=step, batch_size=batch_size)


def test_a_random_crop_is_a_contiguous_window_mirrored_half_of_the_time() -> None:
    spec = AugmentSpec(brightness=0.0, contrast=None)
    tops, lefts, mirrored = set(), set(), 0
    for step in range(8):
        view = distort(places(), spec, draws(step)).numpy()
        assert view.shape == (BATCH, 24, 24, 3)
        for number, picture in enumerate(view):
            flipped = picture[0, 0, 1] > picture[0, 1, 1]
            mirrored += flipped
            upright = picture[:, ::-1] if flipped else picture
            top, left = int(upright[0, 0, 0]), int(upright[0, 0, 1])
            np.testing.assert_array_equal(upright, places()[number, top : top + 24, left : left + 24])
            tops.add(top)
            lefts.add(left)
    assert tops == lefts == set(range(9))
    assert 0.4 < mirrored / (8 * BATCH) < 0.6


def test_padding_reflects_like_tensorflow() -> None:
    spec = AugmentSpec(crop=32, pad=5, flip=False, brightness=0.0, contrast=None)
    padded = tf.pad(places(), [[0, 0], [5, 5], [5, 5], [0, 0]], mode="REFLECT").numpy()
    drawn = draws()
    view = distort(places(), spec, drawn).numpy()
    tops, lefts = (np.floor(draw.numpy() * 11).astype(int) for draw in (drawn.top, drawn.left))
    assert {0, 10} <= set(tops)
    for number in range(BATCH):
        window = padded[number, tops[number] : tops[number] + 32, lefts[number] : lefts[number] + 32]
        np.testing.assert_array_equal(view[number], window)


def test_brightness_contrast_and_standardisation_are_those_of_tensorflow_picture_by_picture(
    images: np.ndarray,
) -> None:
    spec = AugmentSpec(crop=None, flip=False)
    drawn = draws()
    view = distort(images, spec, drawn).numpy()
    standard = standardize(tf.constant(view), spec).numpy()
    for number in range(BATCH):
        shift = -63 + 126 * float(drawn.brightness[number])
        factor = 0.2 + 1.6 * float(drawn.contrast[number])
        expected = tf.image.adjust_brightness(tf.cast(images[number], tf.float32), shift)
        expected = tf.image.adjust_contrast(expected, factor)
        np.testing.assert_allclose(view[number], expected, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(
            standard[number], tf.image.per_image_standardization(view[number]), rtol=1e-5, atol=1e-5
        )


def test_shifts_and_factors_fill_their_ranges_evenly() -> None:
    pixels = np.stack([np.zeros((2, 2, 3)), np.full((2, 2, 3), 200)], axis=1).reshape(1, 4, 2, 3)
    batch = np.broadcast_to(pixels, (4000, 4, 2, 3)).astype(np.uint8)
    drawn = draws(batch_size=4000)

    shifts = distort(batch, PLAIN.model_copy(update={"brightness": 63.0}), drawn).numpy()[:, 0, 0, 0]
    assert -63 <= shifts.min() < -62
    assert 62 < shifts.max() <= 63
    assert abs(shifts.mean()) < 2
    assert shifts.std() == pytest.approx(126 / 12**0.5, rel=0.05)

    view = distort(batch, PLAIN.model_copy(update={"contrast": (0.2, 1.8)}), drawn).numpy()
    factors = (view.max(axis=(1, 2, 3)) - view.min(axis=(1, 2, 3))) / 200
    assert 0.2 - 1e-5 <= factors.min() < 0.21
    assert 1.79 < factors.max() <= 1.8 + 1e-5
    assert factors.mean() == pytest.approx(1.0, abs=0.03)


def rows(drawn: RandomDraws) -> np.ndarray:
    return np.stack([getattr(drawn, field.name) for field in fields(drawn)])


def test_the_chances_of_a_picture_have_nothing_to_do_with_each_other() -> None:
    drawn = rows(draws(batch_size=4000))
    between = np.corrcoef(drawn) - np.eye(len(drawn))
    assert np.abs(between).max() < 0.06


def test_the_chances_of_earlier_releases_are_still_the_same() -> None:
    # Runs that were begun with five rows go on with the same pictures.
    key = tf.constant([7, 3], tf.int64)
    earlier = tf.random.stateless_uniform([5, 1000], key, alg="philox").numpy()
    np.testing.assert_array_equal(rows(draws(step=3, batch_size=1000))[:5], earlier)


def test_a_square_within_the_picture_is_greyed_and_nothing_else(images: np.ndarray) -> None:
    spec = PLAIN.model_copy(update={"cutout": 12})
    corners = set()
    for step in range(20):
        view = training_view(images, spec, seed=1, step=step, batch_size=BATCH).numpy()
        whole = training_view(images, PLAIN, seed=1, step=step, batch_size=BATCH).numpy()
        for picture, uncut in zip(view, whole, strict=True):
            hidden = (picture == 0).all(axis=2)
            places = np.argwhere(hidden)
            top, left = places.min(axis=0)
            assert len(places) == 12 * 12
            assert hidden[top : top + 12, left : left + 12].all()
            np.testing.assert_array_equal(picture[~hidden], uncut[~hidden])
            corners.add((int(top), int(left)))
    assert {top for top, _ in corners} == {left for _, left in corners} == set(range(21))


def test_a_part_of_a_batch_is_cut_as_in_the_whole(images: np.ndarray) -> None:
    spec = PLAIN.model_copy(update={"cutout": 5})
    whole = training_view(images, spec, seed=1, step=3, batch_size=BATCH).numpy()
    part = training_view(images[9:20], spec, seed=1, step=3, batch_size=BATCH, first=9).numpy()
    np.testing.assert_allclose(part, whole[9:20], rtol=1e-5, atol=1e-5)


def test_nothing_is_cut_out_or_mirrored_when_a_picture_is_judged(images: np.ndarray) -> None:
    spec = AugmentSpec(cutout=9, flip="alternate")
    np.testing.assert_array_equal(evaluation_view(images, spec), evaluation_view(images, TUTORIAL))


def test_flips_that_alternate_are_left_to_who_makes_the_batches(images: np.ndarray) -> None:
    alternate = AugmentSpec(flip="alternate")
    unflipped = AugmentSpec(flip=False)
    np.testing.assert_array_equal(distort(images, alternate, draws()), distort(images, unflipped, draws()))


def test_a_step_distorts_alike_whenever_it_is_made_and_unlike_other_steps_and_seeds(images: np.ndarray) -> None:
    def view(seed: int, step: int) -> np.ndarray:
        return training_view(images, TUTORIAL, seed=seed, step=step, batch_size=BATCH).numpy()

    graph = tf.function(lambda step: training_view(images, TUTORIAL, seed=1, step=step, batch_size=BATCH))
    far = 10**12
    np.testing.assert_array_equal(view(1, far), view(1, far))
    np.testing.assert_allclose(graph(tf.constant(far, tf.int64)), view(1, far), rtol=1e-5, atol=1e-5)
    assert not np.allclose(view(1, far), view(1, far + 1))
    assert not np.allclose(view(1, far), view(2, far))


def test_a_part_of_a_batch_is_distorted_as_in_the_whole(images: np.ndarray) -> None:
    whole = training_view(images, TUTORIAL, seed=1, step=3, batch_size=BATCH).numpy()
    for first, count in ((0, 1), (1, 13), (14, 50)):
        part = training_view(
            images[first : first + count], TUTORIAL, seed=1, step=3, batch_size=BATCH, first=first
        ).numpy()
        np.testing.assert_allclose(part, whole[first : first + count], rtol=1e-5, atol=1e-5)


def test_the_evaluation_view_is_the_central_crop_standardised(images: np.ndarray) -> None:
    view = evaluation_view(images, TUTORIAL).numpy()
    assert view.dtype == np.float32
    for number in range(4):
        crop = tf.image.resize_with_crop_or_pad(images[number], 24, 24)
        np.testing.assert_allclose(view[number], tf.image.per_image_standardization(crop), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(view.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(view.std(axis=(1, 2, 3)), 1, atol=1e-5)


def test_a_picture_of_one_colour_becomes_zero() -> None:
    flat = np.full((1, 32, 32, 3), 200, np.uint8)
    assert (evaluation_view(flat, TUTORIAL).numpy() == 0).all()


def test_a_picture_that_hardly_varies_is_divided_by_the_floor_of_the_deviation() -> None:
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    picture[0, 16, 16, 0] = 1
    size = 24 * 24 * 3
    # One pixel's deviation, sqrt(1/size - 1/size²), is just below the floor sqrt(1/size).
    view = evaluation_view(picture, TUTORIAL).numpy()
    assert view.max() == pytest.approx((1 - 1 / size) * size**0.5, rel=1e-6)
    expected = tf.image.per_image_standardization(tf.image.resize_with_crop_or_pad(picture[0], 24, 24))
    np.testing.assert_allclose(view[0], expected, rtol=1e-6, atol=1e-7)


def test_standardising_by_the_data_set_uses_its_figures(images: np.ndarray) -> None:
    spec = AugmentSpec(crop=None, standardize="dataset")
    statistics = ChannelStatistics(mean=(120.0, 110.0, 100.0), deviation=(60.0, 50.0, 40.0))
    view = evaluation_view(images, spec, statistics)
    np.testing.assert_allclose(view, (images - np.array([120.0, 110, 100])) / np.array([60.0, 50, 40]), rtol=1e-5)


def test_standardising_by_the_data_set_without_its_figures_is_refused(images: np.ndarray) -> None:
    with pytest.raises(SpecError, match=r"augment\.standardize"):
        evaluation_view(images, AugmentSpec(standardize="dataset"))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (AugmentSpec(crop=33), r"augment\.crop: is 33, and the pictures are 32 x 40"),
        (AugmentSpec(cutout=24), r"augment\.cutout: is 24, and the network sees 24 x 24"),
        (AugmentSpec(crop=None, cutout=32), r"augment\.cutout: is 32, and the network sees 32 x 40"),
        (AugmentSpec(pad=32), r"augment\.pad: is 32; .*less than their side"),
    ],
)
def test_a_crop_padding_or_cut_too_large_for_the_pictures_is_refused(spec: AugmentSpec, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        view_shape(spec, (32, 40, 3))


def test_without_a_crop_pictures_may_be_oblong() -> None:
    spec = AugmentSpec(crop=None, pad=2)
    images = np.zeros((BATCH, 8, 12, 3), np.uint8)
    assert view_shape(spec, (8, 12, 3)) == (8, 12, 3)
    assert training_view(images, spec, seed=0, step=0, batch_size=BATCH).shape == (BATCH, 8, 12, 3)
    assert evaluation_view(images, spec).shape == (BATCH, 8, 12, 3)
