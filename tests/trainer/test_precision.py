"""Mixed precision and XLA on the processor: what is trained, what is kept, and that going on is exact."""

import numpy as np
import pytest

from services.trainer.devices import fitting_precision
from services.trainer.engine import Batch, Groups
from services.trainer.loss_scaling import FIRST_SCALE, GROWTH_STEPS
from services.trainer.step import StepEngine, build_engine
from shared.checkpoints import encode_arrays, spec_digest
from shared.devices import processor_features
from shared.errors import SpecError
from shared.spec import AugmentSpec, ConstantRate, ModelSpec, OptimizerSpec, Precision, RunSpec, parse_spec
from tests.trainer import resume

PLAIN = AugmentSpec(crop=None, flip=False, brightness=0.0, contrast=None)
TUTORIAL = RunSpec(batch_size=8, steps=200, augment=AugmentSpec(crop=8), learning_rate=ConstantRate(rate=0.05))
BATCH_NORMALISED = RunSpec(
    batch_size=8,
    steps=200,
    augment=AugmentSpec(crop=None, pad=2),
    model=ModelSpec(name="resnet-small", options={"width": 2}),
    optimizer=OptimizerSpec(momentum=0.9, nesterov=True, weight_decay=0.01, label_smoothing=0.1),
    learning_rate=ConstantRate(rate=0.05),
)
MIXED = ("mixed_bfloat16", "mixed_float16")


def build(spec: RunSpec) -> StepEngine:
    return build_engine(spec, classes=resume.CLASSES, image_shape=resume.IMAGE_SHAPE, train_examples=160)


def train(engine: StepEngine, spec: RunSpec, *, until: int) -> None:
    engine.train([resume.batch(spec, step) for step in range(engine.step, until)])


def in_precision(spec: RunSpec, precision: Precision) -> RunSpec:
    return spec.model_copy(update={"precision": precision})


def encoded(groups: Groups) -> dict[str, bytes]:
    return {kind: encode_arrays(arrays) for kind, arrays in groups.items()}


@pytest.mark.parametrize("precision", MIXED)
def test_a_network_learns_in_mixed_precision_and_what_is_kept_is_float32(precision: Precision) -> None:
    spec = RunSpec(batch_size=16, augment=PLAIN, learning_rate=ConstantRate(rate=0.1), precision=precision)
    engine = build(spec)
    losses = []
    for step in range(80):
        shown = resume.batch(spec, 0)
        engine.train([Batch(step=step, images=shown.images, labels=shown.labels)])
        losses.append(engine.losses().cross_entropy)
    assert losses[-1] < 0.5 * losses[0]
    kept = {
        f"{kind} {name}": array.dtype
        for kind, arrays in engine.snapshot().items()
        for name, array in arrays.items()
        if name != "loss_scale/good_steps"
    }
    assert set(kept.values()) == {np.dtype(np.float32)}
    assert (engine.numerics["precision"], engine.numerics["xla"]) == (precision, "false")


@pytest.mark.parametrize("precision", MIXED)
@pytest.mark.parametrize("spec", [TUTORIAL, BATCH_NORMALISED], ids=["tutorial", "batch normalisation"])
def test_mixed_precision_follows_single_precision_and_is_not_the_same(spec: RunSpec, precision: Precision) -> None:
    single, mixed = build(spec), build(in_precision(spec, precision))
    for engine in (single, mixed):
        train(engine, spec, until=3)
    assert mixed.losses().loss != single.losses().loss
    assert mixed.losses().loss == pytest.approx(single.losses().loss, rel=0.05)


@pytest.mark.parametrize("precision", MIXED)
@pytest.mark.parametrize("spec", [TUTORIAL, BATCH_NORMALISED], ids=["tutorial", "batch normalisation"])
def test_mixed_precision_goes_on_from_a_snapshot_with_the_same_bits(spec: RunSpec, precision: Precision) -> None:
    spec = in_precision(spec, precision)
    whole, resumed = build(spec), build(spec)
    train(whole, spec, until=5)
    snapshot = whole.snapshot()
    train(whole, spec, until=12)
    resumed.restore(snapshot, step=5)
    train(resumed, spec, until=12)
    assert encoded(resumed.snapshot()) == encoded(whole.snapshot())


def with_scale(engine: StepEngine, *, scale: float, good_steps: int) -> None:
    groups = {kind: dict(arrays) for kind, arrays in engine.snapshot().items()}
    groups["optimizer"]["loss_scale/scale"] = np.array(scale, np.float32)
    groups["optimizer"]["loss_scale/good_steps"] = np.array(good_steps, np.int32)
    engine.restore(groups, step=engine.step)


def scale_of(engine: StepEngine) -> tuple[float, int]:
    memory = engine.snapshot()["optimizer"]
    return float(memory["loss_scale/scale"]), int(memory["loss_scale/good_steps"])


def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_is_halved() -> None:
    spec = in_precision(TUTORIAL, "mixed_float16")
    engine = build(spec)
    train(engine, spec, until=2)
    assert scale_of(engine) == (FIRST_SCALE, 2)
    with_scale(engine, scale=2.0**60, good_steps=7)
    before = engine.snapshot()["raw"]
    train(engine, spec, until=3)
    assert scale_of(engine) == (2.0**59, 0)
    assert encode_arrays(engine.snapshot()["raw"]) == encode_arrays(before)
    assert np.isfinite(engine.losses().loss)


def test_the_scale_doubles_after_enough_good_steps_and_a_run_goes_on_with_it() -> None:
    spec = in_precision(TUTORIAL, "mixed_float16")
    engine = build(spec)
    with_scale(engine, scale=1024.0, good_steps=GROWTH_STEPS - 1)
    train(engine, spec, until=1)
    assert scale_of(engine) == (2048.0, 0)


def test_other_precisions_remember_no_scale() -> None:
    assert not [
        name for name in build(in_precision(TUTORIAL, "mixed_bfloat16")).snapshot()["optimizer"] if "scale" in name
    ]


@pytest.mark.parametrize("spec", [TUTORIAL, BATCH_NORMALISED], ids=["tutorial", "batch normalisation"])
def test_a_compiled_step_computes_what_the_plain_one_does_and_goes_on_exactly(spec: RunSpec) -> None:
    compiled = spec.model_copy(update={"xla": True, "devices": ("CPU:0",)})
    plain, whole, resumed = build(spec), build(compiled), build(compiled)
    for engine in (plain, whole):
        train(engine, spec, until=4)
    assert whole.losses().loss == pytest.approx(plain.losses().loss, rel=1e-4)
    for name, array in plain.snapshot()["raw"].items():
        np.testing.assert_allclose(whole.snapshot()["raw"][name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    snapshot = whole.snapshot()
    train(whole, spec, until=8)
    resumed.restore(snapshot, step=4)
    train(resumed, spec, until=8)
    assert encoded(resumed.snapshot()) == encoded(whole.snapshot())
    assert whole.numerics["xla"] == "true"


def test_gradients_are_looked_at_without_the_scale() -> None:
    squares = {}
    for precision in ("float32", "mixed_float16"):
        spec = in_precision(TUTORIAL, precision)  # type: ignore[arg-type]
        summary = build(spec).summarize(resume.batch(spec, 0))
        squares[precision] = {name: histogram.squares for name, histogram in summary.gradients.items()}
    assert squares["mixed_float16"] == pytest.approx(squares["float32"], rel=0.1)


def test_one_network_in_mixed_precision_leaves_the_next_one_alone() -> None:
    build(in_precision(TUTORIAL, "mixed_bfloat16"))
    plain = build(TUTORIAL)
    train(plain, TUTORIAL, until=2)
    again = build(TUTORIAL)
    train(again, TUTORIAL, until=2)
    assert encoded(plain.snapshot()) == encoded(again.snapshot())
    assert plain.numerics["precision"] == "float32"


def test_another_precision_and_xla_are_another_training() -> None:
    # XLA draws other random numbers for dropout, which is more than rounding.
    specs = (RunSpec(), RunSpec(precision="mixed_bfloat16"), RunSpec(xla=True))
    assert len({spec_digest(spec) for spec in specs}) == len(specs)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"precision": "bfloat16"}, "precision"),
        ({"xla": True, "devices": ["GPU:0", "GPU:1"]}, "xla compiles a step for one device"),
    ],
)
def test_what_cannot_be_is_refused_in_the_spec(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        parse_spec(values, source="test")


@pytest.mark.parametrize(
    ("names", "features", "expected"),
    [
        (("CPU:0",), "avx512_bf16", "mixed_bfloat16"),
        (("CPU:0", "CPU:1"), "avx512_bf16", "mixed_bfloat16"),
        (("CPU:0",), "avx512_vnni", "float32"),
        (("GPU:0",), "avx512_bf16", "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_instructions_for_it(
    names: tuple[str, ...], features: str, expected: Precision
) -> None:
    assert fitting_precision("auto", names=names, features=features) == expected
    assert fitting_precision("mixed_float16", names=names, features=features) == "mixed_float16"


def test_what_auto_came_to_is_told() -> None:
    engine = build(RunSpec(batch_size=8, augment=PLAIN, precision="auto"))
    assert engine.numerics["precision"] == fitting_precision("auto", names=["CPU:0"], features=processor_features())
