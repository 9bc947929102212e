import numpy as np
import pytest

from shared.errors import CorruptCheckpointError
from shared.ml.models import build_model
from shared.ml.weights import assign_weights, read_weights
from shared.spec import ModelSpec

TINY = ModelSpec(name="resnet-small", options={"width": 1})


def build(seed: int) -> object:
    return build_model(TINY, image_shape=(8, 8, 3), classes=3, seed=seed)


def test_weights_pass_from_one_model_to_another_whole() -> None:
    source, target = build(0), build(1)
    given = read_weights(source)
    assert "stem_norm/moving_variance" in given
    assign_weights(target, given, source="raw")
    taken = read_weights(target)
    assert taken.keys() == given.keys()
    assert all((taken[name] == given[name]).all() for name in given)


def test_what_was_read_is_a_copy() -> None:
    model = build(0)
    given = read_weights(model)
    kept = {name: array.copy() for name, array in given.items()}
    assign_weights(model, {name: array + 1 for name, array in given.items()}, source="raw")
    assert all((given[name] == kept[name]).all() for name in given)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"logits/bias": None}, "raw: lacks the tensor logits/bias"),
        ({"logits/scale": np.zeros(3, np.float32)}, "raw: has a tensor logits/scale"),
        ({"logits/bias": np.zeros((3, 1), np.float32)}, r"raw: logits/bias is of shape \[3, 1\] instead of \[3\]"),
        ({"logits/bias": np.zeros(3)}, "raw: logits/bias is float64 instead of float32"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_and_nothing_is_set(
    change: dict[str, np.ndarray | None], words: str
) -> None:
    model = build(0)
    before = read_weights(model)
    given = {name: array + 1 for name, array in before.items()} | change
    with pytest.raises(CorruptCheckpointError, match=words):
        assign_weights(model, {k: v for k, v in given.items() if v is not None}, source="raw")
    assert all((before[name] == array).all() for name, array in read_weights(model).items())
