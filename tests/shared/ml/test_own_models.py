"""Networks from modules of the operator's: only where they are allowed, and only if they keep to the contract."""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from shared.errors import SpecError
from shared.ml.models import build_model
from shared.ml.weights import random_states, read_weights
from shared.spec import ModelSpec, parse_spec

MODULE = """
import keras

def plain(*, image_shape, classes, seed, units: int = 4, note: str | None = None):
    layers = [keras.layers.Flatten(), keras.layers.Dense(units), keras.layers.Dropout(0.5), keras.layers.Dense(classes)]
    return keras.Sequential([keras.Input(image_shape), *layers])

def anything(*, image_shape, classes, seed, **options):
    return plain(image_shape=image_shape, classes=classes, seed=seed, units=options["neurons"])

def nothing(*, image_shape, classes, seed):
    return "a network"

def narrow(*, image_shape, classes, seed):
    return plain(image_shape=image_shape, classes=classes - 1, seed=seed)

def flat(*, image_shape, classes, seed):
    return keras.Sequential([keras.Input((7,)), keras.layers.Dense(classes)])

def bare(*, image_shape, classes, seed):
    images = keras.Input(image_shape)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))

def broken(*, image_shape, classes, seed):
    raise ZeroDivisionError("no pictures")

class Doubled(keras.Model):
    def __init__(self, classes):
        super().__init__()
        self.first = keras.layers.Dense(classes, name="same")
        self.second = keras.layers.Dense(classes, name="same")

    def call(self, images):
        return self.second(self.first(keras.ops.mean(images, axis=(1, 2))))

def doubled(*, image_shape, classes, seed):
    return Doubled(classes)

number = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_networks.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("import a_package_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)


def build(
    name: str, *, allowed: tuple[str, ...] = ("own_networks", "own_broken"), classes: int = 3, **options: Any
) -> Any:
    spec = ModelSpec(name=name, options=options)
    return build_model(spec, image_shape=(4, 4, 3), classes=classes, seed=5, own_modules=allowed)


def test_a_function_of_an_allowed_module_gives_the_network() -> None:
    model = build("own_networks:plain", units=6)
    assert model(np.zeros((5, 4, 4, 3), np.float32)).shape == (5, 3)
    assert read_weights(model)["sequential/dense/kernel"].shape == (48, 6)


def test_names_and_initial_weights_are_the_same_however_much_was_built_before() -> None:
    first = read_weights(build("own_networks:plain"))
    keras.layers.Dense(3).build((1, 2))
    second = read_weights(build("own_networks:plain"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_states_of_random_generators_are_no_weights_but_are_found() -> None:
    model = build("own_networks:plain")
    assert [name.partition("/")[0] for name in random_states(model)] == ["random"]
    assert random_states(build_model(ModelSpec(), image_shape=(8, 8, 3), classes=3, seed=0)) == {}


def test_a_function_may_take_any_option() -> None:
    assert read_weights(build("own_networks:anything", neurons=7))["sequential/dense/kernel"].shape == (48, 7)


@pytest.mark.parametrize("allowed", [(), ("own",), ("own_networks.below", "other")])
def test_a_module_that_is_not_allowed_is_never_imported(allowed: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "own_networks.py").write_text("raise SystemExit('imported')")
    with pytest.raises(SpecError, match=r"model\.name: the module 'own_networks' is not one .*TANDEM_MODEL_MODULES"):
        build("own_networks:plain", allowed=allowed)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("own_broken:build", "'own_broken' cannot be imported: ModuleNotFoundError: .*a_package_that_is_not_there"),
        ("own_networks:missing", r"'own_networks' \(.*own_networks.py\) has no function 'missing'"),
        ("own_networks:number", "has no function 'number'"),
        ("own_networks:broken", "broken of module own_networks raised ZeroDivisionError: no pictures"),
        ("own_networks:nothing", "nothing of module own_networks returned str, not a keras.Model"),
        ("own_networks:narrow", r"narrow .* answer to 2 pictures is of shape \[2, 2\], not \[2, 3\]"),
        ("own_networks:flat", r"flat .* cannot be called with float32 \['n', 4, 4, 3\]"),
        ("own_networks:bare", "bare .* without trainable weights"),
        ("own_networks:doubled", "doubled .* two weights called .*same/bias"),
    ],
)
def test_what_breaks_the_contract_is_named_with_module_and_function(name: str, complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        build(name)


def test_options_are_checked_like_those_of_built_in_networks() -> None:
    with pytest.raises(SpecError, match=r"model\.options\.depth: .*has no option 'depth'. Known: units, note"):
        build("own_networks:plain", depth=3)
    with pytest.raises(SpecError, match=r"model\.options\.units: is 'many', which is not of type int"):
        build("own_networks:plain", units="many")
    build("own_networks:plain", note="without a type of its own")


@pytest.mark.parametrize(
    "name", ["own networks:build", "../own:build", "own:", ":build", "own:build:more", "Tutorial", ""]
)
def test_the_form_of_a_name_is_checked_where_no_network_is_built(name: str) -> None:
    with pytest.raises(SpecError, match=r"model\.name"):
        parse_spec({"model": {"name": name}}, source="test")
