"""A network of the operator's own trains, resumes and is exported like those that are built in."""

from pathlib import Path

import numpy as np
import pytest

from services.evaluator.graph import convert
from services.trainer.settings import TrainerSettings
from services.trainer.step import StepEngine, build_engine
from shared.errors import SettingsError
from shared.ml.models import build_model
from shared.ml.preprocess import evaluation_view
from shared.ml.weights import assign_weights
from shared.onnx_runtime import onnxruntime
from shared.recipes import load_recipe
from shared.settings import load_settings
from shared.spec import RunSpec, overlay, parse_spec
from tests.trainer import resume

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    monkeypatch.syspath_prepend(EXAMPLES)
    recipe = load_recipe(EXAMPLES / "my-fashion.yaml")
    changes = {"batch_size": 8, "augment": {"standardize": "image"}, "model": {"options": {"width": 2, "dropout": 0.5}}}
    return parse_spec(overlay(recipe, changes), source="my-fashion")


def build(spec: RunSpec) -> StepEngine:
    return build_engine(
        spec,
        classes=resume.CLASSES,
        image_shape=resume.IMAGE_SHAPE,
        train_examples=160,
        own_modules=["my_networks"],
    )


def test_what_dropout_leaves_out_is_the_same_after_a_resume(spec: RunSpec) -> None:
    engine = build(spec)
    engine.train([resume.batch(spec, step) for step in range(3)])
    middle = engine.snapshot()
    engine.train([resume.batch(spec, step) for step in range(3, 6)])

    resumed = build(spec)
    resumed.restore(middle, step=3)
    resumed.train([resume.batch(spec, step) for step in range(3, 6)])
    for kind, arrays in engine.snapshot().items():
        for name, array in arrays.items():
            assert array.tobytes() == resumed.snapshot()[kind][name].tobytes(), f"{kind} {name}"
    assert any(name.startswith("random/") for name in middle["optimizer"])


def test_the_example_is_exported_with_its_preprocessing(spec: RunSpec) -> None:
    weights = build(spec).snapshot()["raw"]
    shape, classes = resume.IMAGE_SHAPE, resume.CLASSES
    model = build_model(spec.model, image_shape=shape, classes=classes, seed=0, own_modules=["my_networks"])
    assign_weights(model, weights, source="test")
    graph = convert(model, image_shape=shape, augment=spec.augment, statistics=None)
    session = onnxruntime.InferenceSession(graph.with_weights(weights), providers=["CPUExecutionProvider"])

    images = resume.batch(spec, 0).images
    expected = model(evaluation_view(images, spec.augment), training=False)
    np.testing.assert_allclose(session.run(["logits"], {"images": images})[0], expected, rtol=1e-4, atol=1e-5)


def test_modules_are_named_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_MODEL_MODULES", "my_networks, lab.networks")
    assert load_settings(TrainerSettings).model_modules == ("my_networks", "lab.networks")
    monkeypatch.setenv("TANDEM_MODEL_MODULES", "../my_networks.py")
    with pytest.raises(SettingsError, match="TANDEM_MODEL_MODULES"):
        load_settings(TrainerSettings)
