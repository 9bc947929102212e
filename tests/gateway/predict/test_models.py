import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from services.gateway.predict.models import LoadedModel, OnnxLoader
from services.gateway.predict.store import ExportStore
from shared.errors import CorruptExportError
from tests.gateway.predict.asking import A


def load(models) -> LoadedModel:
    export = ExportStore(models.volume).scan().resolve(A).exports[0]
    return OnnxLoader(threads=1, largest_batch=4)(export)


def test_model_answers_the_logits_of_its_graph(models, make_model) -> None:
    bias = np.arange(10, dtype=np.float32)
    models.export(A, 1, data=make_model(bias=bias, scale=0.001))
    images = np.full((3, 8, 8, 3), 100, np.uint8)
    expected = np.tile(bias + 0.001 * 100 * 8 * 8 * 3, (3, 1))
    np.testing.assert_allclose(load(models).infer(images), expected, rtol=1e-5)


def test_single_picture_is_answered_the_same_alone_and_together(models, make_model) -> None:
    models.export(A, 1, data=make_model(bias=np.arange(10, dtype=np.float32), scale=0.001))
    export = ExportStore(models.volume).scan().resolve(A).exports[0]
    model = OnnxLoader(threads=2, largest_batch=4)(export)
    image = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), np.uint8)
    np.testing.assert_allclose(model.infer_alone(image), model.infer(image), rtol=1e-5)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("spoil", [_flip, _cut, Path.unlink])
def test_damaged_export_is_refused_by_the_name_of_its_file(models, spoil) -> None:
    path = models.export(A, 1) / "model.onnx"
    spoil(path)
    with pytest.raises(CorruptExportError) as caught:
        load(models)
    assert caught.value.where == str(path)


def test_export_whose_digests_match_and_whose_model_is_none_is_refused(models) -> None:
    models.export(A, 1, data=b"no model")
    with pytest.raises(CorruptExportError, match="cannot be served"):
        load(models)


def test_model_of_other_classes_than_its_manifest_is_refused(models, make_model) -> None:
    models.export(A, 1, data=make_model(bias=np.zeros(7, np.float32)))
    with pytest.raises(CorruptExportError, match="7"):
        load(models)


def test_model_of_another_input_shape_than_its_manifest_is_refused(models, make_model) -> None:
    models.export(A, 1, data=make_model(bias=np.zeros(10, np.float32), side=9))
    with pytest.raises(CorruptExportError):
        load(models)


def test_model_that_answers_nan_at_warm_up_is_refused(models, make_model) -> None:
    models.export(A, 1, data=make_model(bias=np.full(10, np.nan, np.float32)))
    with pytest.raises(CorruptExportError, match="finite"):
        load(models)


def test_manifest_without_the_model_is_refused(models) -> None:
    models.export(A, 1, manifest={"files": {}})
    with pytest.raises(CorruptExportError, match=r"model\.onnx"):
        load(models)


def test_model_that_nobody_holds_is_freed(models) -> None:
    models.export(A, 1)
    model = load(models)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
