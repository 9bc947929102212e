import keras
import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import tensorflow as tf

from services.evaluator.export import MODEL, OnnxExporter, compare
from services.evaluator.graph import convert
from services.evaluator.judge import EvaluationCache, TensorFlowJudge
from services.evaluator.judging import NotExportableError
from shared.layout import MANIFEST, listed_steps
from shared.ml.models import build_model
from shared.ml.models.layers import LocalResponseNormalization
from shared.ml.preprocess import evaluation_view
from shared.ml.weights import assign_weights
from shared.onnx_runtime import onnxruntime
from shared.records import ExportManifest, read_record
from shared.spec import AugmentSpec, DatasetSpec, EvaluationSpec, ModelSpec, RunSpec

KIND = "ema-0.9999"


def spec_of(model="tutorial", *, standardize="image", crop=12):
    return RunSpec(
        dataset=DatasetSpec(kind="shapes", train_examples=20, test_examples=33),
        augment=AugmentSpec(crop=crop, standardize=standardize),
        model=ModelSpec(name=model),
        evaluation=EvaluationSpec(batch_size=20),
    )


@pytest.fixture
def evaluation_cache(volume):
    return EvaluationCache(volume=volume, cache_bytes=2**20)


@pytest.fixture
def exporter(evaluation_cache):
    return OnnxExporter(cache=evaluation_cache, keep=2, threads=1)


@pytest.fixture
def folder(runs):
    return runs.run()


def weights_of(evaluation_cache, spec, seed=0):
    random = np.random.default_rng(seed)
    arrays = {variable.path: variable.numpy() for variable in evaluation_cache.network(spec).model.weights}
    noise = {name: (0.2 * random.standard_normal(array.shape)).astype(array.dtype) for name, array in arrays.items()}
    whole = {name: array + noise[name] for name, array in arrays.items()}
    return {name: np.abs(array) if name.endswith("moving_variance") else array for name, array in whole.items()}


def export(exporter, evaluation_cache, folder, spec, *, step, seed=0):
    weights = weights_of(evaluation_cache, spec, seed)
    judged = TensorFlowJudge(cache=evaluation_cache).judge(spec, weights, source="here", wanted=lambda: True)
    made = exporter.export(folder, spec, step=step, kind=KIND, weights=weights, judged=judged)
    return made, weights, judged


def answers(data, images):
    return onnxruntime.InferenceSession(data).run(["logits"], {"images": images})[0]


@pytest.mark.parametrize("model", ["tutorial", "resnet-small", "slim", "paired"])
@pytest.mark.parametrize("standardize", ["image", "dataset"])
def test_an_export_takes_uint8_pictures_and_answers_what_was_judged(
    exporter, evaluation_cache, folder, model, standardize
):
    spec = spec_of(model, standardize=standardize)
    for step, seed in ((10, 1), (20, 2)):
        _, _, judged = export(exporter, evaluation_cache, folder, spec, step=step, seed=seed)
        data = (folder.export(step) / MODEL).read_bytes()
        for count in (1, 33):
            images = judged.images[:count]
            assert images.shape == (count, 32, 32, 3)
            found = answers(data, images)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, judged.logits[:count], atol=1e-4 * np.abs(judged.logits).max())
        np.testing.assert_array_equal(found.argmax(1), judged.logits.argmax(1))


def test_an_export_says_what_it_is(exporter, evaluation_cache, folder):
    spec = spec_of()
    made, _, judged = export(exporter, evaluation_cache, folder, spec, step=10)
    assert made
    manifest = read_record(folder.export(10) / MANIFEST, ExportManifest)
    assert (manifest.run, manifest.step, manifest.weights, manifest.decay) == (folder.id, 10, "ema", 0.9999)
    assert manifest.input_shape == (32, 32, 3)
    assert manifest.classes == judged.classes
    assert manifest.precision_at_1 == judged.figures.precision_at_1
    assert manifest.files[MODEL].size == (folder.export(10) / MODEL).stat().st_size
    (entry,) = onnxruntime.InferenceSession((folder.export(10) / MODEL).read_bytes()).get_inputs()
    assert (entry.name, entry.type, entry.shape) == ("images", "tensor(uint8)", ["n", 32, 32, 3])


@pytest.mark.parametrize("model", ["tutorial", "resnet-small", "slim", "paired"])
def test_weights_are_exchanged_bit_by_bit_and_nothing_else_differs(evaluation_cache, model):
    spec = spec_of(model)
    network = evaluation_cache.network(spec).model
    one, two = weights_of(evaluation_cache, spec, 1), weights_of(evaluation_cache, spec, 2)
    assign_weights(network, one, source="here")
    graph = convert(network, image_shape=(32, 32, 3), augment=spec.augment, statistics=None)
    exchanged = onnx.load_from_string(graph.with_weights(two))
    assign_weights(network, two, source="here")
    fresh = convert(network, image_shape=(32, 32, 3), augment=spec.augment, statistics=None)
    converted = onnx.load_from_string(fresh.with_weights(two))

    def constants(proto):
        return {item.name: onnx.numpy_helper.to_array(item) for item in proto.graph.initializer}

    for name, array in two.items():
        assert constants(exchanged)[name].tobytes() == array.tobytes()
    assert len(exchanged.graph.node) == len(converted.graph.node)
    # Whatever is no weight is the same whichever weights the network had when it was converted.
    first, second = [
        sorted((value.dtype.str, value.tobytes()) for name, value in constants(proto).items() if name not in two)
        for proto in (exchanged, converted)
    ]
    assert first == second
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    found = answers(exchanged.SerializeToString(), images)
    np.testing.assert_array_equal(found, answers(converted.SerializeToString(), images))
    views = evaluation_view(images, spec.augment)
    np.testing.assert_allclose(found, network(views, training=False), rtol=1e-3, atol=1e-3)


def test_the_banded_response_normalisation_of_an_export_is_that_of_tensorflow_within_a_hundred_thousandth():
    """In ONNX Runtime, on 64 channels of numbers so large that the normalisation matters, each number relatively."""
    view, channels = keras.Input((8, 8, 3)), keras.layers.Reshape((3, 1, 64))
    large = keras.layers.Rescaling(200.0)(channels(view))
    normalised = LocalResponseNormalization(radius=4, bias=1.0, alpha=0.001 / 9, name="norm")(large)
    model = keras.Model(view, keras.layers.Flatten()(normalised))
    augment = AugmentSpec(crop=8)
    graph = convert(model, image_shape=(12, 12, 3), augment=augment, statistics=None)
    images = np.random.default_rng(0).integers(0, 256, (50, 12, 12, 3), np.uint8)
    found = answers(graph.with_weights({}), images)
    values = tf.reshape(evaluation_view(images, augment), (-1, 3, 1, 64)) * 200.0
    expected = tf.nn.lrn(values, 4, 1.0, 0.001 / 9, 0.75).numpy().reshape(50, -1)
    assert np.abs(expected).max() < 0.5 * np.abs(values).max(), "it does something"
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_step_is_exported_once(exporter, evaluation_cache, folder):
    assert export(exporter, evaluation_cache, folder, spec_of(), step=10, seed=1)[0] is True
    before = (folder.export(10) / MODEL).read_bytes()
    assert export(exporter, evaluation_cache, folder, spec_of(), step=10, seed=2)[0] is False
    assert (folder.export(10) / MODEL).read_bytes() == before


def test_the_best_and_the_newest_exports_are_kept(exporter, evaluation_cache, folder):
    precisions = {}
    for step in range(10, 70, 10):
        _, _, judged = export(exporter, evaluation_cache, folder, spec_of(), step=step, seed=step)
        precisions[step] = judged.figures.precision_at_1
    best = [step for step, precision in precisions.items() if precision == max(precisions.values())]
    assert set(listed_steps(folder.exports)) == {50, 60, best[0], best[-1]}


def test_what_a_killed_evaluator_left_half_written_is_removed(exporter, evaluation_cache, folder):
    left = folder.exports / ".tmp-10-1-abcd"
    left.mkdir(parents=True)
    export(exporter, evaluation_cache, folder, spec_of(), step=10)
    assert not left.exists()


def test_an_export_that_answers_differently_is_not_committed(exporter, evaluation_cache, folder):
    spec = spec_of()
    _, weights, judged = export(exporter, evaluation_cache, folder, spec, step=10)
    weights["softmax_linear/bias"][3] += 1.0
    with pytest.raises(NotExportableError, match="logits"):
        exporter.export(folder, spec, step=20, kind=KIND, weights=weights, judged=judged)
    assert listed_steps(folder.exports) == [10]


def test_a_network_that_onnx_cannot_express_says_why():
    model = build_model(ModelSpec(name="tutorial"), image_shape=(12, 12, 3), classes=10, seed=0)

    class Strange:
        weights, trainable_variables, non_trainable_variables = model.weights, model.trainable_variables, []

        def stateless_call(self, trainable, others, view, training):
            return tf.py_function(lambda x: x, [tf.reduce_sum(view, axis=[1, 2])], tf.float32), others

    with pytest.raises(NotExportableError, match="EagerPyFunc"):
        convert(Strange(), image_shape=(32, 32, 3), augment=AugmentSpec(crop=12), statistics=None)


def test_weights_of_other_names_do_not_enter_a_graph(evaluation_cache):
    spec = spec_of()
    graph = convert(
        evaluation_cache.network(spec).model, image_shape=(32, 32, 3), augment=spec.augment, statistics=None
    )
    weights = weights_of(evaluation_cache, spec)
    weights["conv9/kernel"] = weights.pop("conv1/kernel")
    with pytest.raises(NotExportableError, match="conv1/kernel, conv9/kernel"):
        graph.with_weights(weights)


def test_answers_may_differ_by_a_share_of_the_greatest_logit():
    judged = np.float32([[10.0, 0.0]])
    assert compare(judged + np.float32(0.0009), judged) == pytest.approx(0.0009, rel=0.01)
    with pytest.raises(NotExportableError):
        compare(judged + np.float32(0.0012), judged)
    with pytest.raises(NotExportableError):
        compare(judged * np.nan, judged)
    with pytest.raises(NotExportableError, match="shape"):
        compare(judged[:, :1], judged)


def test_no_export_is_made_of_a_run_that_was_removed_meanwhile(exporter, evaluation_cache, folder):
    spec = spec_of()
    folder.root.rename(folder.root.with_name(".trash"))
    with pytest.raises(FileNotFoundError):
        export(exporter, evaluation_cache, folder, spec, step=10)
    assert not folder.root.exists()
