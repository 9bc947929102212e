import numpy as np
import pytest
import tensorflow as tf

from services.evaluator.judge import COMPARED_EXAMPLES, EvaluationCache, TensorFlowJudge
from services.evaluator.judging import AbandonedError, NotFiniteError
from services.evaluator.recalibration import recalibrate
from shared.data.catalog import open_dataset
from shared.errors import CorruptCheckpointError, DatasetMissingError, SpecError
from shared.ml.preprocess import evaluation_view
from shared.ml.weights import assign_weights, read_weights
from shared.spec import AugmentSpec, DatasetSpec, EvaluationSpec, ModelSpec, RunSpec

EXAMPLES = 53


def spec_of(**changes):
    values = {
        "dataset": DatasetSpec(kind="shapes", train_examples=20, test_examples=EXAMPLES),
        "augment": AugmentSpec(crop=12),
        "evaluation": EvaluationSpec(batch_size=20, top_k=3),
    }
    return RunSpec(**{**values, **changes})


@pytest.fixture
def evaluation_cache(volume):
    return EvaluationCache(volume=volume, cache_bytes=2**20)


@pytest.fixture
def judge(evaluation_cache):
    return TensorFlowJudge(cache=evaluation_cache)


def weights_of(evaluation_cache, spec, *, scale=0.2, seed=0):
    random = np.random.default_rng(seed)
    arrays = read_weights(evaluation_cache.network(spec).model)
    return {
        name: np.abs(array + scale * random.standard_normal(array.shape)).astype(array.dtype)
        if name.endswith("moving_variance")
        else (array + scale * random.standard_normal(array.shape)).astype(array.dtype)
        for name, array in arrays.items()
    }


def judged(judge, spec, weights):
    return judge.judge(spec, weights, source="checkpoints/10/raw", wanted=lambda: True)


@pytest.mark.parametrize("model", ["tutorial", "resnet-small", "slim", "paired"])
def test_each_example_is_judged_exactly_once_the_last_partial_batch_included(judge, evaluation_cache, volume, model):
    spec = spec_of(model=ModelSpec(name=model))
    weights = weights_of(evaluation_cache, spec)
    found = judged(judge, spec, weights)

    dataset = open_dataset(spec.dataset, volume=volume)
    images, labels = dataset.test.gather(np.arange(EXAMPLES, dtype=np.int64))
    network = evaluation_cache.network(spec).model
    assign_weights(network, weights, source="here")
    logits = np.concatenate([network(evaluation_view(image[None], spec.augment), training=False) for image in images])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits).numpy()
    assert found.figures.examples == EXAMPLES
    assert found.figures.precision_at_1 == pytest.approx((logits.argmax(1) == labels).mean())
    assert found.figures.precision_at_k == pytest.approx(tf.math.in_top_k(labels, logits, 3).numpy().mean())
    assert found.figures.loss == pytest.approx(losses.mean(), rel=1e-4)
    assert [item.examples for item in found.figures.classes] == np.bincount(labels, minlength=10).tolist()
    np.testing.assert_allclose(found.logits, logits, atol=1e-5 * np.abs(logits).max())
    np.testing.assert_array_equal(found.images, images)
    assert len(found.logits) == min(EXAMPLES, COMPARED_EXAMPLES)


@pytest.mark.parametrize("batch_size", [1, 52, 53, 54, 1000])
def test_the_size_of_the_batches_changes_no_count(judge, evaluation_cache, batch_size):
    spec = spec_of()
    weights = weights_of(evaluation_cache, spec)
    expected = judged(judge, spec, weights).figures
    found = judged(judge, spec_of(evaluation=EvaluationSpec(batch_size=batch_size, top_k=3)), weights).figures
    assert found.examples == EXAMPLES
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.precision_at_1 == expected.precision_at_1


def test_later_checkpoints_are_judged_with_their_own_weights(judge, evaluation_cache):
    spec = spec_of()
    one, two = weights_of(evaluation_cache, spec, seed=1), weights_of(evaluation_cache, spec, seed=2)
    first, second = judged(judge, spec, one), judged(judge, spec, two)
    assert first.figures.loss != second.figures.loss
    assert judged(judge, spec, one).figures == first.figures


def test_the_network_is_compiled_once(judge, evaluation_cache):
    spec = spec_of()
    for seed in range(3):
        judged(judge, spec, weights_of(evaluation_cache, spec, seed=seed))
    assert evaluation_cache.network(spec).logits.experimental_get_tracing_count() == 1


def test_prepared_pictures_are_kept_within_the_bound_and_no_longer(volume):
    size = EXAMPLES * 12 * 12 * 3 * 4
    spec, other = spec_of(), spec_of(augment=AugmentSpec(crop=12, standardize="dataset"))
    for cache_bytes, again in ((size, True), (size - 1, False)):
        evaluation_cache = EvaluationCache(volume=volume, cache_bytes=cache_bytes)
        first, second = list(evaluation_cache.batches(spec)), list(evaluation_cache.batches(spec))
        assert (first[0][0] is second[0][0]) is again
        np.testing.assert_array_equal(first[-1][0], second[-1][0])
        assert len(first[-1][1]) == EXAMPLES % 20
        list(evaluation_cache.batches(other))
        assert next(evaluation_cache.batches(spec))[0] is not first[0][0]


def test_an_evaluation_that_is_not_wanted_any_more_ends_between_two_batches(judge, evaluation_cache):
    spec = spec_of()
    answers = iter([True, False])
    with pytest.raises(AbandonedError):
        judge.judge(spec, weights_of(evaluation_cache, spec), source="here", wanted=lambda: next(answers))


def test_answers_that_are_not_finite_are_told(judge, evaluation_cache):
    spec = spec_of()
    weights = weights_of(evaluation_cache, spec)
    weights["softmax_linear/bias"][3] = np.nan
    with pytest.raises(NotFiniteError, match="53 of 53 answers"):
        judged(judge, spec, weights)


def test_weights_of_another_network_are_corrupt(judge, evaluation_cache):
    spec = spec_of()
    weights = weights_of(evaluation_cache, spec)
    del weights["conv1/bias"]
    with pytest.raises(CorruptCheckpointError, match="conv1/bias"):
        judged(judge, spec, weights)


def test_a_network_or_data_set_that_is_not_there_is_told_by_name(judge):
    with pytest.raises(SpecError, match="unheard-of"):
        judged(judge, spec_of(model=ModelSpec(name="unheard-of")), {})
    with pytest.raises(DatasetMissingError):
        judged(judge, spec_of(dataset=DatasetSpec(kind="cifar10")), {})
    with pytest.raises(SpecError, match=r"augment\.crop"):
        judged(judge, spec_of(augment=AugmentSpec(crop=40)), {})


def test_the_answers_to_single_examples_are_those_that_were_counted(judge, evaluation_cache):
    spec = spec_of()
    found = judged(judge, spec, weights_of(evaluation_cache, spec))
    labels = np.concatenate([labels for _, labels in evaluation_cache.batches(spec)])
    np.testing.assert_array_equal(found.answers.correct, found.answers.predicted == labels)
    assert found.answers.correct.mean() == found.figures.precision_at_1
    assert found.answers.dataset_fingerprint == evaluation_cache.dataset(spec).fingerprint


RESNET = ModelSpec(name="resnet-small", options={"width": 4})


@pytest.fixture
def recalibrating(evaluation_cache):
    return TensorFlowJudge(cache=evaluation_cache, recalibration_examples=16)


def test_an_average_is_judged_with_its_statistics_taken_anew_as_well(recalibrating, judge, evaluation_cache):
    spec = spec_of(model=RESNET, batch_size=8)
    weights = weights_of(evaluation_cache, spec)
    far_off = {
        name: array + 5 if name.endswith(("moving_mean", "moving_variance")) else array
        for name, array in weights.items()
    }
    found = recalibrating.judge(spec, far_off, source="here", wanted=lambda: True, averaged=True)
    assert found.figures == judged(judge, spec, far_off).figures, "its own figures are of its own statistics"
    near = recalibrating.judge(spec, weights, source="here", wanted=lambda: True, averaged=True)
    assert found.recalibrated.examples == 16
    # What the statistics were before does not matter.
    assert found.recalibrated.loss == near.recalibrated.loss
    assert found.recalibrated.loss != found.figures.loss
    low, high = found.recalibrated.interval
    assert low <= found.recalibrated.precision_at_1 <= high


def test_statistics_taken_anew_are_means_of_those_of_the_batches(evaluation_cache):
    spec = spec_of(model=RESNET, batch_size=8)
    network = evaluation_cache.network(spec)
    batches = list(evaluation_cache.training_batches(spec, 16))
    assert [len(views) for views in batches] == [8, 8]
    recalibrate(network.statistics, network.learn, batches, wanted=lambda: True)
    stem = tf.keras.Model(network.model.inputs, network.model.get_layer("stem").output)
    outputs = [stem(views).numpy().astype(np.float64) for views in batches]
    norm = network.model.get_layer("stem_norm")
    means = np.mean([output.mean(axis=(0, 1, 2)) for output in outputs], axis=0)
    variances = np.mean([output.var(axis=(0, 1, 2)) for output in outputs], axis=0)
    np.testing.assert_allclose(norm.moving_mean.numpy(), means, atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance.numpy(), variances, rtol=1e-4)


def test_nothing_is_taken_anew_for_raw_weights_for_other_networks_or_when_turned_off(
    recalibrating, judge, evaluation_cache
):
    spec, plain = spec_of(model=RESNET, batch_size=8), spec_of()
    weights = weights_of(evaluation_cache, spec)
    assert judged(recalibrating, spec, weights).recalibrated is None
    assert judge.judge(spec, weights, source="here", wanted=lambda: True, averaged=True).recalibrated is None
    weights = weights_of(evaluation_cache, plain)
    found = recalibrating.judge(plain, weights, source="here", wanted=lambda: True, averaged=True)
    assert found.recalibrated is None


def test_taking_statistics_anew_ends_between_two_batches(recalibrating, evaluation_cache):
    spec = spec_of(model=RESNET, batch_size=8)
    answers = iter([True] * 3 + [True, False])  # three batches of the test set, then one of the training split
    with pytest.raises(AbandonedError):
        recalibrating.judge(
            spec, weights_of(evaluation_cache, spec), source="here", wanted=lambda: next(answers), averaged=True
        )
    assert next(answers, "asked no more") == "asked no more"
