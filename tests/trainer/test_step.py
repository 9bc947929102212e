import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from services.trainer.engine import Batch, Groups
from services.trainer.step import StepEngine, build_engine
from shared.data.statistics import ChannelStatistics
from shared.errors import CorruptCheckpointError, SpecError
from shared.records import Rollback, Rollbacks
from shared.spec import (
    AugmentSpec,
    ConstantRate,
    EmaSpec,
    ExponentialRate,
    ModelSpec,
    OneCycleRate,
    OptimizerSpec,
    RunSpec,
)
from tests.shared.ml import reference
from tests.trainer import resume

SHAPE = resume.IMAGE_SHAPE
TUTORIAL = RunSpec(batch_size=8, augment=AugmentSpec(crop=8), steps=200)
BATCH_NORMALISED = RunSpec(
    batch_size=8,
    steps=200,
    augment=AugmentSpec(crop=None, pad=2, standardize="image"),
    model=ModelSpec(name="resnet-small", options={"width": 2}),
    optimizer=OptimizerSpec(momentum=0.9, nesterov=True, weight_decay=0.01, label_smoothing=0.1),
    learning_rate=OneCycleRate(peak=0.05),
    ema=EmaSpec(decays=(0.9999, 0.9)),
)
# Nothing is drawn at random, so that the network sees what the reference sees.
STATISTICS = ChannelStatistics(mean=(128.0, 120.0, 110.0), deviation=(64.0, 60.0, 50.0))
UNDISTORTED = AugmentSpec(crop=None, flip=False, brightness=0.0, contrast=None, standardize="dataset")


def build(spec: RunSpec, statistics: ChannelStatistics | None = None) -> StepEngine:
    return build_engine(spec, classes=resume.CLASSES, image_shape=SHAPE, train_examples=160, statistics=statistics)


def batches(spec: RunSpec, start: int, stop: int) -> list[Batch]:
    return [resume.batch(spec, step) for step in range(start, stop)]


def assert_equal_bits(first: Groups, second: Groups) -> None:
    assert first.keys() == second.keys()
    for kind, arrays in first.items():
        assert arrays.keys() == second[kind].keys()
        for name, array in arrays.items():
            assert array.tobytes() == second[kind][name].tobytes(), f"{kind} {name}"


@pytest.mark.parametrize(
    "optimizer",
    [
        OptimizerSpec(),
        OptimizerSpec(momentum=0.9),
        OptimizerSpec(momentum=0.8, nesterov=True, weight_decay=0.5, label_smoothing=0.2),
        OptimizerSpec(momentum=0.8, bias_rate=3.0),
    ],
    ids=["plain", "momentum", "Nesterov with decay and smoothing", "momentum with a rate for biases"],
)
def test_steps_follow_the_numpy_reference(optimizer: OptimizerSpec) -> None:
    steps = 3
    spec = RunSpec(
        batch_size=6,
        augment=UNDISTORTED,
        optimizer=optimizer,
        learning_rate=ExponentialRate(initial=0.05, factor=0.5, every_epochs=0.1),
        ema=EmaSpec(decays=(0.9999, 0.15)),
    )
    engine = build(spec, STATISTICS)
    start = engine.snapshot()["raw"]
    weights = {name: array.astype(np.float64) for name, array in start.items()}
    velocities = {name: np.zeros_like(array) for name, array in weights.items()}
    shadows = {decay: dict(weights) for decay in spec.ema.decays}
    averages = np.zeros(2)
    for step in range(steps):
        batch = resume.batch(spec, step)
        engine.train([batch])

        images = (batch.images - np.array(STATISTICS.mean)) / np.array(STATISTICS.deviation)
        loss, cross_entropy, _, gradients = reference.losses_and_gradients(
            weights, images, batch.labels, smoothing=optimizer.label_smoothing
        )
        rate = 0.05 * 0.5 ** (step // 2)
        reference.descend(
            weights,
            velocities,
            gradients,
            rate=rate,
            momentum=optimizer.momentum,
            nesterov=optimizer.nesterov,
            weight_decay=optimizer.weight_decay,
            bias_rate=optimizer.bias_rate,
        )
        for decay, shadow in shadows.items():
            reference.average(shadow, weights, decay=decay, updates=step + 1)
        averages = 0.9 * averages + 0.1 * np.array([loss, cross_entropy])

        told = engine.losses()
        assert (told.loss, told.cross_entropy) == pytest.approx((loss, cross_entropy), rel=1e-5)
        assert told.average_loss == pytest.approx(averages[0] / (1 - 0.9 ** (step + 1)), rel=1e-5)
        assert told.learning_rate == pytest.approx(rate)

    snapshot = engine.snapshot()
    expected = {"raw": weights, "ema-0.9999": shadows[0.9999], "ema-0.15": shadows[0.15]}
    assert snapshot.keys() == {*expected, "optimizer"}
    for kind, arrays in expected.items():
        for name, array in arrays.items():
            # Small changes of a bias of 0.1 drown in its rounding, hence no less than 1e-3.
            change = array - start[name]
            error = np.linalg.norm(snapshot[kind][name] - array) / np.linalg.norm(change)
            assert error < 1e-3, f"{kind} {name}"
    if optimizer.momentum:
        for name, velocity in velocities.items():
            found = snapshot["optimizer"][f"momentum/{name}"]
            assert np.linalg.norm(found - velocity) < 1e-4 * np.linalg.norm(velocity), name


def test_a_rate_for_biases_moves_the_shifts_of_batch_normalisation_too() -> None:
    moved = []
    for factor in (1.0, 4.0):
        optimizer = OptimizerSpec(bias_rate=factor)
        spec = BATCH_NORMALISED.model_copy(update={"optimizer": optimizer, "learning_rate": ConstantRate(rate=0.01)})
        engine = build(spec)
        before = engine.snapshot()["raw"]
        engine.train(batches(spec, 0, 1))
        moved.append({name: array - before[name] for name, array in engine.snapshot()["raw"].items()})
    once, more = moved
    for name in ("stem_norm/beta", "logits/bias", "stem_norm/gamma", "stem/kernel"):
        factor = 4.0 if name.endswith(("bias", "beta")) else 1.0
        np.testing.assert_allclose(more[name], factor * once[name], rtol=1e-3, atol=1e-7, err_msg=name)
        assert np.abs(once[name]).max() > 1e-5


def test_the_first_average_of_the_losses_is_the_first_loss() -> None:
    engine = build(TUTORIAL)
    engine.train(batches(TUTORIAL, 0, 1))
    losses = engine.losses()
    assert losses.average_loss == pytest.approx(losses.loss)
    assert losses.loss > losses.cross_entropy


def test_before_the_first_step_there_is_no_loss() -> None:
    losses = build(TUTORIAL).losses()
    assert np.isnan([losses.loss, losses.cross_entropy, losses.average_loss]).all()
    assert losses.learning_rate == 0.1


def test_averages_cover_the_moving_statistics_and_leave_the_weights_alone() -> None:
    alone = BATCH_NORMALISED.model_copy(update={"ema": EmaSpec(decays=(0.5,))})
    snapshots = []
    for spec in (BATCH_NORMALISED, alone):
        engine = build(spec)
        statistic = "stem_norm/moving_mean"
        shadow, kind = engine.snapshot()["raw"][statistic].astype(np.float64), spec.primary_ema
        for step in range(5):
            engine.train(batches(spec, step, step + 1))
            d = min(spec.ema.decays[0], (2 + step) / (11 + step))
            shadow = d * shadow + (1 - d) * engine.snapshot()["raw"][statistic]
        snapshots.append(engine.snapshot())
        np.testing.assert_allclose(snapshots[-1][kind][statistic], shadow, rtol=1e-5)
        assert snapshots[-1][kind].keys() == snapshots[-1]["raw"].keys()
    assert_equal_bits({"raw": snapshots[0]["raw"]}, {"raw": snapshots[1]["raw"]})


MUON = BATCH_NORMALISED.model_copy(
    update={
        "augment": BATCH_NORMALISED.augment.model_copy(update={"cutout": 5}),
        "optimizer": BATCH_NORMALISED.optimizer.model_copy(update={"kind": "muon"}),
    }
)


@pytest.mark.parametrize("spec", [TUTORIAL, MUON], ids=["tutorial", "batch normalisation, Muon, squares cut out"])
def test_a_new_process_goes_on_from_a_snapshot_with_the_same_bits(spec: RunSpec, tmp_path: Path) -> None:
    middle, end = 77, 200
    engine = build(spec)
    # Two in one call and one by one are the same steps.
    engine.train(batches(spec, 0, 2))
    for step in range(2, middle):
        engine.train(batches(spec, step, step + 1))
    snapshot = engine.snapshot()
    resume.write_groups(tmp_path / "snapshot", snapshot)
    engine.train(batches(spec, middle, end))

    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    arguments = ["spec.json", "snapshot", str(middle), str(end), "result"]
    root = Path(__file__).parents[2]
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import runpy; runpy.run_module('tests.trainer.resume', run_name='__main__')",
            *arguments,
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
        timeout=120,
    )
    assert_equal_bits(engine.snapshot(), resume.read_groups(tmp_path / "result"))
    # The snapshot was a copy: the steps made since have not changed it.
    assert_equal_bits(snapshot, resume.read_groups(tmp_path / "snapshot"))


def test_a_snapshot_of_another_network_is_refused_and_the_tensor_is_named() -> None:
    engine = build(TUTORIAL)
    groups = engine.snapshot()
    raw = {name: array for name, array in groups["raw"].items() if name != "local3/bias"}
    with pytest.raises(CorruptCheckpointError, match="raw: lacks the tensor local3/bias"):
        engine.restore({**groups, "raw": raw}, step=3)
    with pytest.raises(CorruptCheckpointError, match=r"ema-0\.9999: lacks the tensor conv1/kernel"):
        engine.restore({"raw": groups["raw"], "optimizer": groups["optimizer"]}, step=3)
    with pytest.raises(CorruptCheckpointError, match="optimizer: lacks the tensor losses"):
        engine.restore({**groups, "optimizer": {}}, step=3)
    assert engine.step == 0


def test_a_batch_of_another_step_is_refused() -> None:
    engine = build(TUTORIAL)
    with pytest.raises(ValueError, match="the batch of step 1 came after 0 steps"):
        engine.train(batches(TUTORIAL, 1, 2))


def test_a_crop_larger_than_the_pictures_is_refused() -> None:
    with pytest.raises(SpecError, match=r"augment\.crop"):
        build(RunSpec(augment=AugmentSpec(crop=24)))


def test_the_figures_that_decide_the_last_bits_are_told() -> None:
    numerics = build(TUTORIAL).numerics
    assert numerics["device"] == "cpu"
    assert numerics["onednn"] in {"0", "1"}
    assert int(numerics["intra_op_threads"]) >= 1
    assert {"tensorflow", "keras", "processor_features"} <= numerics.keys()


def test_a_run_that_went_back_computes_what_one_at_the_lower_rate_does() -> None:
    rate = 0.05
    crop = AugmentSpec(crop=10)
    slowed = build(RunSpec(batch_size=4, augment=crop, learning_rate=ConstantRate(rate=rate)))
    back = Rollback(run="r", step=0, diverged=1, factor=0.5, reason="", time=0.0)
    slowed.slow(Rollbacks(rollbacks=(back,)))
    lower = build(RunSpec(batch_size=4, augment=crop, learning_rate=ConstantRate(rate=rate / 2)))
    for engine in (slowed, lower):
        engine.train(batches(RunSpec(batch_size=4), 0, 2))
    assert slowed.losses().learning_rate == rate / 2
    assert_equal_bits(slowed.snapshot(), lower.snapshot())
