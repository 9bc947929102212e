import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SpecError
from shared.spec import CosineRate, EmaSpec, RunSpec, ema_kind, overlay, parse_spec


def test_the_defaults_are_the_tutorials():
    spec = RunSpec()
    assert (spec.batch_size, spec.steps, spec.ema.decays) == (128, 1_000_000, (0.9999,))
    assert spec.learning_rate.model_dump() == {
        "kind": "exponential",
        "initial": 0.1,
        "factor": 0.1,
        "every_epochs": 350.0,
        "staircase": True,
    }
    assert (spec.augment.crop, spec.augment.brightness, spec.augment.contrast) == (24, 63.0, (0.2, 1.8))
    assert (spec.cadence.log_steps, spec.cadence.checkpoint_steps) == (10, 1_000)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"stepz": 5}, "stepz"),
        ({"steps": -1}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"name": "../etc"}, "name"),
        ({"dataset": {"kind": "imagenet"}}, "dataset.kind"),
        ({"ema": {"decays": "0.9"}}, "ema.decays"),
        ({"ema": {"decays": [0.9, 0.9]}}, "ema.decays"),
        ({"learning_rate": {"kind": "constant", "rate": float("nan")}}, "learning_rate.constant.rate"),
        ({"augment": {"contrast": [1.8, 0.2]}}, "augment.contrast"),
        ({"until": {"ema_precision": 87}}, "until.ema_precision"),
    ],
)
def test_a_bad_value_is_named_with_its_path(values, field):
    with pytest.raises(SpecError) as caught:
        parse_spec(values, source="mine.yaml")
    assert caught.value.where == f"mine.yaml: {field}"


def test_an_unknown_key_is_called_that():
    with pytest.raises(SpecError, match=r"^mine\.yaml: stepz: unknown key$"):
        parse_spec({"stepz": 5}, source="mine.yaml")


def test_all_problems_are_named_at_once():
    with pytest.raises(SpecError, match=r"steps.*batch_size"):
        parse_spec({"steps": 0, "batch_size": 0}, source="mine.yaml")


def test_one_word_about_divergence_stands_for_its_defaults():
    rule = parse_spec({"on_divergence": "rollback"}, source="mine.yaml").on_divergence
    assert (rule.action, rule.rate_factor) == ("rollback", 0.5)


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(SpecError, match="warmup_steps"):
        parse_spec({"steps": 10, "learning_rate": {"kind": "cosine", "warmup_steps": 10}}, source="mine.yaml")
    assert RunSpec(steps=11, learning_rate=CosineRate(warmup_steps=10))


def test_a_spec_is_a_mapping():
    with pytest.raises(SpecError, match="list"):
        parse_spec([], source="mine.yaml")


@given(st.floats(min_value=1e-6, max_value=1 - 1e-9))
def test_a_kind_of_weights_tells_its_decay_exactly(decay):
    assert float(ema_kind(decay).removeprefix("ema-")) == decay


def test_kinds_of_weights_come_raw_first_then_by_decay():
    spec = RunSpec(ema=EmaSpec(decays=(0.999, 0.9)))
    assert spec.weights_kinds == ("raw", "ema-0.999", "ema-0.9")
    assert spec.primary_ema == "ema-0.999"


def test_a_spec_survives_its_json():
    spec = RunSpec(name="mine", learning_rate=CosineRate(warmup_steps=3), labels={"team": "a"})
    assert RunSpec.model_validate_json(spec.model_dump_json()) == spec


def test_changes_are_laid_over_a_recipe_key_by_key():
    recipe = {"steps": 5, "dataset": {"kind": "shapes", "seed": 1}}
    assert overlay(recipe, {"dataset": {"seed": 2}}) == {"steps": 5, "dataset": {"kind": "shapes", "seed": 2}}
    assert recipe["dataset"]["seed"] == 1


def test_overlay_of_another_kind_takes_the_place_of_the_one_below() -> None:
    recipe = {"learning_rate": {"kind": "constant", "rate": 0.1}}
    assert overlay(recipe, {"learning_rate": {"kind": "cosine"}}) == {"learning_rate": {"kind": "cosine"}}
    assert overlay(recipe, {"learning_rate": {"kind": "constant"}}) == recipe
