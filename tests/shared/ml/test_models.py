from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.errors import SpecError
from shared.ml.models import build_model
from shared.ml.models.layers import LocalResponseNormalization, batch_normalization
from shared.ml.models.slim import patch_filters
from shared.ml.weights import read_weights
from shared.spec import ModelSpec
from tests.shared.ml import reference

# Odd sides, so that pooling needs other margins in height than in width.
SHAPE = (11, 10, 3)


@pytest.fixture
def double_precision() -> Iterator[None]:
    for kind in ("float64", "float32"):
        keras.config.set_floatx(kind)
        keras.config.set_dtype_policy(kind)
        if kind == "float64":
            yield


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("scale", [1.0, 60.0], ids=["standardised pictures", "activations that are normalised hard"])
def test_tutorial_agrees_with_the_numpy_reference_in_double_precision(scale: float) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.normal(0.0, scale, (4, *SHAPE)), np.array([3, 9, 0, 3])
    model = build_model(ModelSpec(), image_shape=SHAPE, classes=10, seed=5)
    with tf.GradientTape() as tape:
        logits = model(tf.constant(images), training=True)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tf.add_n([tf.reduce_mean(each), *model.losses])
    gradients = tape.gradient(loss, {v.path: v.value for v in model.trainable_variables})

    expected = reference.losses_and_gradients(read_weights(model), images, labels)

    np.testing.assert_allclose(logits, expected[2], rtol=1e-10, atol=1e-10 * scale)
    # Keras rounds the factors of its L2 terms to single precision.
    np.testing.assert_allclose(loss, expected[0], rtol=1e-7)
    assert gradients.keys() == expected[3].keys()
    for name, gradient in gradients.items():
        wanted = expected[3][name]
        np.testing.assert_allclose(gradient, wanted, rtol=1e-7, atol=1e-8 * np.abs(wanted).max(), err_msg=name)


def test_tutorial_has_the_shapes_of_the_tutorial() -> None:
    weights = read_weights(build_model(ModelSpec(), image_shape=(24, 24, 3), classes=10, seed=0))
    assert {name: array.shape for name, array in weights.items()} == {
        "conv1/kernel": (5, 5, 3, 64),
        "conv1/bias": (64,),
        "conv2/kernel": (5, 5, 64, 64),
        "conv2/bias": (64,),
        "local3/kernel": (2304, 384),
        "local3/bias": (384,),
        "local4/kernel": (384, 192),
        "local4/bias": (192,),
        "softmax_linear/kernel": (192, 10),
        "softmax_linear/bias": (10,),
    }


def test_tutorial_starts_from_truncated_normals_and_the_tutorials_biases() -> None:
    weights = read_weights(build_model(ModelSpec(), image_shape=(24, 24, 3), classes=10, seed=0))
    deviations = {"conv1": 0.05, "conv2": 0.05, "local3": 0.04, "local4": 0.04, "softmax_linear": 1 / 192}
    biases = {"conv1": 0.0, "conv2": 0.1, "local3": 0.1, "local4": 0.1, "softmax_linear": 0.0}
    for layer, deviation in deviations.items():
        kernel = weights[f"{layer}/kernel"]
        assert np.abs(kernel).max() <= 2 * deviation
        # A normal distribution cut at two deviations has 0.8796 of its deviation left.
        assert kernel.std() == pytest.approx(0.8796 * deviation, rel=0.05)
        assert kernel.mean() == pytest.approx(0.0, abs=0.1 * deviation)
    for layer, bias in biases.items():
        assert (weights[f"{layer}/bias"] == np.float32(bias)).all()


@pytest.mark.parametrize("name", ["tutorial", "resnet-small", "slim", "paired"])
def test_initial_weights_are_a_function_of_the_seed_and_differ_by_layer(name: str) -> None:
    def initial(seed: int) -> dict[str, np.ndarray]:
        return read_weights(build_model(ModelSpec(name=name), image_shape=(12, 12, 3), classes=10, seed=seed))

    first, again, other = initial(1), initial(1), initial(2)
    for weight in first:
        np.testing.assert_array_equal(first[weight], again[weight])
    # Whoever has no more filters than channels begins by handing them on in `paired`.
    known = {"filters/kernel"} | (
        {"stage1b/kernel", "stage2b/kernel", "stage3a/kernel", "stage3b/kernel"} if name == "paired" else set()
    )
    drawn = [weight for weight in first if weight.endswith("kernel") and weight not in known]
    assert all((first[weight] != other[weight]).any() for weight in drawn)
    starts = {first[weight].reshape(-1)[-3:].tobytes() for weight in drawn}
    assert len(starts) == len(drawn)


def test_response_normalisation_is_that_of_tensorflow_forwards_and_backwards() -> None:
    values = tf.random.stateless_normal([2, 3, 4, 20], [1, 2], stddev=100.0)
    weight = tf.random.stateless_normal([2, 3, 4, 20], [3, 4])
    layer = LocalResponseNormalization(radius=4, bias=1.0, alpha=0.001 / 9, name="norm")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(values)
        ours, theirs = layer(values), tf.nn.lrn(values, 4, 1.0, 0.001 / 9, 0.75)
        our_sum, their_sum = tf.reduce_sum(ours * weight), tf.reduce_sum(theirs * weight)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(our_sum, values), tape.gradient(their_sum, values), rtol=2e-5, atol=1e-6)


def test_resnet_keeps_moving_statistics_that_only_training_moves() -> None:
    spec = ModelSpec(name="resnet-small", options={"width": 2})
    model = build_model(spec, image_shape=(8, 8, 3), classes=7, seed=0)
    before = read_weights(model)
    images = tf.random.stateless_normal([6, 8, 8, 3], [1, 2], mean=3.0)

    assert model(images, training=False).shape == (6, 7)
    assert all((before[name] == array).all() for name, array in read_weights(model).items())

    model(images, training=True)
    moved = {name for name, array in read_weights(model).items() if (before[name] != array).any()}
    assert moved == {name for name in before if "moving_" in name}


def test_an_unknown_network_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"model\.name: .*'vgg'.*tutorial, resnet-small, slim, paired"):
        build_model(ModelSpec(name="vgg"), image_shape=SHAPE, classes=10, seed=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 3}, r"model\.options\.depth: .*Known: width, momentum, logit_scale"),
        ({"seed": 3}, r"model\.options\.seed: "),
        ({"width": 2.5}, r"model\.options\.width: is 2\.5, which is not of type int"),
        ({"width": True}, r"model\.options\.width: "),
        ({"momentum": "fast"}, r"model\.options\.momentum: .*type float"),
        ({"width": 0}, r"model: .*at least one channel"),
    ],
)
def test_an_option_that_does_not_fit_is_named(options: dict[str, bool | int | float | str], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        build_model(ModelSpec(name="resnet-small", options=options), image_shape=(8, 8, 3), classes=10, seed=0)


def test_pictures_too_small_for_a_network_are_refused() -> None:
    with pytest.raises(SpecError, match=r"\(4, 4, 3\).*at least 8 x 8"):
        build_model(ModelSpec(name="resnet-small"), image_shape=(4, 4, 3), classes=10, seed=0)


@pytest.mark.parametrize("learnt", [(True, True), (False, True), (False, False)], ids=["both", "shift", "neither"])
def test_fused_batch_normalisation_is_that_of_keras(learnt: tuple[bool, bool]) -> None:
    scale, shift = learnt
    values = tf.random.stateless_normal([3, 4, 5, 6], [1, 2], mean=2.0, stddev=3.0)
    weight = tf.random.stateless_normal([3, 4, 5, 6], [3, 4])
    ours = batch_normalization(momentum=0.7, epsilon=1e-5, scale=scale, shift=shift, name="norm")
    theirs = keras.layers.BatchNormalization(momentum=0.7, epsilon=1e-5, scale=scale, center=shift, name="norm")
    for layer in (ours, theirs):
        layer.build(values.shape)
        rng = np.random.default_rng(0)
        for variable in layer.weights:
            variable.assign(rng.uniform(0.5, 2.0, variable.shape))
    assert [weight.path for weight in ours.weights] == [weight.path for weight in theirs.weights]

    np.testing.assert_allclose(ours(values, training=False), theirs(values, training=False), rtol=1e-5, atol=1e-5)
    gradients = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = tf.reduce_sum(layer(values, training=True) * weight)
        learns = [variable.value for variable in layer.trainable_variables]
        gradients.append(tape.gradient(loss, [values, *learns]))
    assert len(gradients[0]) == 1 + scale + shift
    for our_gradient, their_gradient in zip(*gradients, strict=True):
        np.testing.assert_allclose(our_gradient, their_gradient, rtol=1e-4, atol=1e-5)
    for our_weight, their_weight in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(our_weight, their_weight, rtol=1e-5, err_msg=our_weight.path)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_filters_of_slim_tell_everything_about_a_patch_once(size: int) -> None:
    filters = patch_filters(size).reshape(3 * size**2, 3 * size**2)
    np.testing.assert_allclose(filters.T @ filters, np.eye(3 * size**2), atol=1e-6)
    # The first one sees brightness alone.
    np.testing.assert_allclose(filters[:, 0], filters[0, 0], rtol=1e-6)


def learnt_names(model: Any) -> set[str]:
    """What a network of seven classes learns from pictures of 16 x 17: all of it moves, and no filter is of it."""
    images = tf.random.stateless_normal([6, 16, 17, 3], [1, 2], mean=3.0)
    trainable = {variable.path: variable.value for variable in model.trainable_variables}
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_sum(tf.square(logits - 1.0))
    assert logits.shape == (6, 7)
    assert all(np.any(gradient) for gradient in tape.gradient(loss, trainable).values())
    assert not any(name.startswith("filters") or name.endswith("gamma") for name in trainable)
    return set(trainable)


@pytest.mark.parametrize("halve_first", [True, False])
def test_slim_learns_everything_but_its_filters(halve_first: bool) -> None:
    spec = ModelSpec(name="slim", options={"width": 2, "halve_first": halve_first, "inner": 2})
    model = build_model(spec, image_shape=(16, 17, 3), classes=7, seed=0)
    trainable = learnt_names(model)
    assert {"inner1a/kernel", "inner2b_norm/beta", "conv4/kernel", "logits/kernel"} < trainable
    assert "filters/kernel" in read_weights(model)


def test_slim_halves_early_or_late_down_to_the_same_size() -> None:
    def places(halve_first: bool) -> list[int]:
        spec = ModelSpec(name="slim", options={"width": 2, "halve_first": halve_first})
        model = build_model(spec, image_shape=(32, 32, 3), classes=10, seed=0)
        return [model.get_layer(f"conv{number}").output.shape[1] for number in (1, 2, 3, 4)]

    assert places(True) == [16, 16, 8, 4]
    assert places(False) == [32, 16, 8, 4]


@pytest.mark.parametrize(
    ("options", "shape"), [({"width": 0}, (8, 8, 3)), ({"inner": -1}, (8, 8, 3)), ({}, (7, 8, 3)), ({}, (8, 8, 1))]
)
def test_slim_says_what_it_cannot_be_built_for(options: dict[str, int], shape: tuple[int, int, int]) -> None:
    with pytest.raises(SpecError, match=r"model: .*at least"):
        build_model(ModelSpec(name="slim", options=options), image_shape=shape, classes=10, seed=0)


def test_slim_may_begin_by_handing_on_what_it_sees() -> None:
    options: dict[str, bool | int] = {"width": 4, "identity": True}
    model = build_model(ModelSpec(name="slim", options=options), image_shape=(16, 16, 3), classes=10, seed=0)
    values = tf.random.stateless_normal([2, 4, 4, 8], [1, 2])
    # As many filters as channels: nothing else is there. More filters: the others are drawn at random.
    np.testing.assert_allclose(model.get_layer("inner1a")(values), values, rtol=1e-6)
    np.testing.assert_allclose(model.get_layer("conv4")(values)[..., :8], values, rtol=1e-6)
    others = model.get_layer("conv4").kernel.numpy()[..., 8:]
    assert np.std(others) == pytest.approx((1 / 3 / (9 * 8)) ** 0.5, rel=0.15)
    # Fewer filters than channels: the first channels.
    seen = tf.random.stateless_normal([2, 8, 8, 24], [1, 2])
    np.testing.assert_allclose(model.get_layer("conv1")(seen), seen[:, 1::2, 1::2, :4], rtol=1e-6)


@pytest.mark.parametrize("residual", [False, True])
def test_paired_learns_everything_but_its_filters(residual: bool) -> None:
    spec = ModelSpec(name="paired", options={"width": 2, "later_width": 3, "residual": residual})
    model = build_model(spec, image_shape=(16, 17, 3), classes=7, seed=0)
    trainable = learnt_names(model)
    third = {"stage2c/kernel", "stage3c/kernel"}
    assert (third < trainable) is residual
    assert not {"stage1c/kernel"} & trainable


def test_paired_halves_the_picture_between_the_convolutions_of_each_stage() -> None:
    spec = ModelSpec(name="paired", options={"width": 2, "later_width": 3, "stages": 4})
    model = build_model(spec, image_shape=(32, 32, 3), classes=10, seed=0)
    shapes = [model.get_layer(f"stage{stage}{part}").output.shape[1:] for stage in (1, 2, 3, 4) for part in "ab"]
    assert shapes == [
        *((32, 32, 2), (16, 16, 2), (16, 16, 3), (8, 8, 3)),
        *((8, 8, 3), (4, 4, 3), (4, 4, 3), (2, 2, 3)),
    ]


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"width": 0}, (32, 32, 3)),
        ({"later_width": 0}, (32, 32, 3)),
        ({"stages": 0}, (32, 32, 3)),
        ({"stages": 4}, (32, 15, 3)),
        ({}, (32, 32, 1)),
    ],
)
def test_paired_says_what_it_cannot_be_built_for(options: dict[str, int], shape: tuple[int, int, int]) -> None:
    with pytest.raises(SpecError, match=r"model: .*at least"):
        build_model(ModelSpec(name="paired", options=options), image_shape=shape, classes=10, seed=0)
