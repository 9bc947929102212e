"""What is watched, against NumPy on a small network, and that watching changes nothing."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from services.trainer.engine import Groups
from services.trainer.inspection import BUCKETS, PICTURES
from services.trainer.step import StepEngine, build_engine
from services.trainer.summaries import Summaries
from shared.data.statistics import ChannelStatistics
from shared.eventfiles import EventFile
from shared.ml.preprocess import training_view
from shared.spec import AugmentSpec, EmaSpec, ModelSpec, OptimizerSpec, RunSpec
from tests.shared.board import read_board, scalars
from tests.shared.ml import reference
from tests.trainer import resume

STATISTICS = ChannelStatistics(mean=(128.0, 120.0, 110.0), deviation=(64.0, 60.0, 50.0))
# Nothing is drawn at random, so that the network sees what the reference sees.
UNDISTORTED = RunSpec(
    batch_size=6,
    augment=AugmentSpec(crop=None, flip=False, brightness=0.0, contrast=None, standardize="dataset"),
)
DISTORTED = RunSpec(batch_size=6, augment=AugmentSpec(crop=8))
BATCH_NORMALISED = RunSpec(
    batch_size=6,
    augment=AugmentSpec(crop=8),
    model=ModelSpec(name="resnet-small", options={"width": 2}),
    optimizer=OptimizerSpec(momentum=0.9),
    ema=EmaSpec(decays=(0.9999, 0.9)),
)


def build(spec: RunSpec) -> StepEngine:
    return build_engine(
        spec, classes=resume.CLASSES, image_shape=resume.IMAGE_SHAPE, train_examples=160, statistics=STATISTICS
    )


def watching(engine: StepEngine, spec: RunSpec, folder: Path) -> Summaries:
    return Summaries(
        engine=engine,
        batch=lambda step: resume.batch(spec, step),
        events=EventFile(folder),
        on_loss=lambda: pytest.fail("a summary was lost"),
        time=lambda: 1000.0,
    )


def train(engine: StepEngine, spec: RunSpec, *, until: int) -> None:
    engine.train([resume.batch(spec, step) for step in range(engine.step, until)])


def outputs_by_hand(weights: reference.Weights, view: reference.Array) -> dict[str, reference.Array]:
    def affine(name: str, x: reference.Array) -> reference.Array:
        kernel = weights[f"{name}/kernel"]
        product = reference.convolve(x, kernel) if kernel.ndim == 4 else x.reshape(len(x), -1) @ kernel
        return product + weights[f"{name}/bias"]

    pooled, _ = reference.pool(np.maximum(affine("conv1", view), 0))
    out = {"conv1": pooled}
    out["norm1"], _ = reference.normalize(pooled)
    out["conv2"] = np.maximum(affine("conv2", out["norm1"]), 0)
    out["norm2"], _ = reference.normalize(out["conv2"])
    out["pool2"], _ = reference.pool(out["norm2"])
    out["local3"] = np.maximum(affine("local3", out["pool2"]), 0)
    out["local4"] = np.maximum(affine("local4", out["local3"]), 0)
    out["softmax_linear"] = affine("softmax_linear", out["local4"])
    return out


def assert_spread(board, tag: str, step: int, values: npt.NDArray[np.floating]) -> None:
    """A histogram as TensorBoard reads it, against the values it is to be made of."""
    (event,) = board.Histograms(tag)
    found = event.histogram_value
    assert event.step == step
    scale = float(np.abs(values).max())
    assert (found.min, found.max) == pytest.approx((values.min(), values.max()), abs=1e-5 * scale), tag
    assert found.num == values.size, tag
    assert found.sum == pytest.approx(values.sum(), rel=1e-4, abs=1e-4 * np.abs(values).sum()), tag
    assert found.sum_squares == pytest.approx(np.square(values).sum(), rel=1e-3), tag
    counts, edges = np.histogram(values, bins=BUCKETS, range=(found.min, found.max))
    np.testing.assert_allclose(found.bucket_limit, edges[1:], atol=1e-9)
    # A value that lies on an edge may fall on either side of it.
    assert np.abs(np.array(found.bucket) - counts).sum() <= max(4, 0.005 * values.size), tag


def test_every_value_is_what_numpy_works_out(tmp_path: Path) -> None:
    steps, engine = 3, build(UNDISTORTED)
    averages: dict[str, float] = {}
    for step in range(steps):
        weights = {name: array.astype(np.float64) for name, array in engine.snapshot()["raw"].items()}
        batch = resume.batch(UNDISTORTED, step)
        view = (batch.images - np.array(STATISTICS.mean)) / np.array(STATISTICS.deviation)
        loss, cross_entropy, _, _ = reference.losses_and_gradients(weights, view, batch.labels)
        losses = {"total": loss, "cross_entropy": cross_entropy} | {
            f"weight_decay/{name}": factor / 2 * float(np.square(weights[name]).sum())
            for name, factor in reference.L2.items()
        }
        averages = {name: 0.9 * averages.get(name, 0.0) + 0.1 * value for name, value in losses.items()}
        engine.train([batch])
    summaries = watching(engine, UNDISTORTED, tmp_path)
    summaries.write(steps, 0.0)
    summaries.close()

    board = read_board(tmp_path)
    weights = {name: array.astype(np.float64) for name, array in engine.snapshot()["raw"].items()}
    batch = resume.batch(UNDISTORTED, steps)
    view = (batch.images - np.array(STATISTICS.mean)) / np.array(STATISTICS.deviation)
    gradients = reference.losses_and_gradients(weights, view, batch.labels)[3]
    outputs = outputs_by_hand(weights, view)

    expected = {f"losses/{name}/raw": value for name, value in losses.items()}
    expected |= {f"losses/{name}/average": value / (1 - 0.9**steps) for name, value in averages.items()}
    expected |= {f"sparsity/{name}": float(np.mean(output == 0)) for name, output in outputs.items()}
    expected["learning_rate"] = 0.1
    tags = board.Tags()
    assert set(tags["scalars"]) == expected.keys()
    for tag, value in expected.items():
        ((step, found),) = scalars(tmp_path, tag)
        assert (step, found) == (steps, pytest.approx(value, rel=1e-3, abs=1e-3)), tag
    spreads = {f"weights/{name}": weight for name, weight in weights.items()}
    spreads |= {f"gradients/{name}": gradient for name, gradient in gradients.items()}
    spreads |= {f"activations/{name}": output for name, output in outputs.items()}
    assert set(tags["histograms"]) == spreads.keys()
    for tag, values in spreads.items():
        assert_spread(board, tag, steps, values)
    assert 0.1 < expected["sparsity/conv2"] < 0.9
    assert expected["sparsity/softmax_linear"] == 0


def test_pictures_are_shown_as_the_network_will_see_them(tmp_path: Path) -> None:
    engine = build(DISTORTED)
    summaries = watching(engine, DISTORTED, tmp_path)
    train(engine, DISTORTED, until=2)
    summaries.write(2, 0.0)
    summaries.close()

    board = read_board(tmp_path)
    assert set(board.Tags()["images"]) == {f"inputs/{position}" for position in range(PICTURES)}
    batch = resume.batch(DISTORTED, 2)
    views = training_view(batch.images, DISTORTED.augment, seed=DISTORTED.seed, step=2, batch_size=6).numpy()
    for position in range(PICTURES):
        (event,) = board.Images(f"inputs/{position}")
        shown = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)), np.float64)
        view = views[position]
        assert (shown.min(), shown.max()) == (0, 255)
        np.testing.assert_allclose(shown, 255 * (view - view.min()) / (view.max() - view.min()), atol=0.51)


@pytest.mark.parametrize("spec", [DISTORTED, BATCH_NORMALISED], ids=["tutorial", "batch normalisation and momentum"])
def test_watching_changes_no_bit_of_what_is_trained(spec: RunSpec, tmp_path: Path) -> None:
    plain, watched = build(spec), build(spec)
    summaries = watching(watched, spec, tmp_path)
    for step in range(0, 24, 3):
        summaries.write(step, 0.0)
        train(watched, spec, until=step + 3)
        train(plain, spec, until=step + 3)
    summaries.close()

    assert flat(watched.snapshot()) == flat(plain.snapshot())
    assert [step for step, _ in scalars(tmp_path, "learning_rate")] == list(range(0, 24, 3))


def test_rectified_layers_of_any_network_are_watched(tmp_path: Path) -> None:
    engine = build(BATCH_NORMALISED)
    summary = engine.summarize(resume.batch(BATCH_NORMALISED, 0))
    assert summary.losses == {}
    assert summary.activations.keys() == summary.sparsity.keys()
    assert {"stem", "stem_norm", "stem_relu", "stage1_add", "logits", "scale"} <= summary.activations.keys()
    assert summary.sparsity["stem_relu"] > 0.1 > summary.sparsity["stem_norm"]
    assert summary.gradients.keys() == summary.weights.keys()


def test_what_is_no_number_has_no_histogram_and_disturbs_no_other(tmp_path: Path) -> None:
    engine = build(DISTORTED)
    groups = {kind: dict(arrays) for kind, arrays in engine.snapshot().items()}
    kernel = groups["raw"]["softmax_linear/kernel"].copy()
    kernel[0, 0] = np.nan
    engine.restore({**groups, "raw": {**groups["raw"], "softmax_linear/kernel": kernel}}, step=0)
    summary = engine.summarize(resume.batch(DISTORTED, 0))
    assert "softmax_linear/kernel" not in summary.weights
    assert "softmax_linear" not in summary.activations
    assert summary.gradients == {}
    assert summary.activations["conv1"].counts.sum() == 6 * 4 * 4 * 64


def test_the_batch_of_another_step_is_refused() -> None:
    with pytest.raises(ValueError, match="the batch of step 1 came after 0 steps"):
        build(DISTORTED).summarize(resume.batch(DISTORTED, 1))


def flat(groups: Groups) -> dict[str, bytes]:
    return {f"{kind}/{name}": array.tobytes() for kind, arrays in groups.items() for name, array in arrays.items()}
