"""The code that `docs/weights.md` shows, run as it stands: a checkpoint's weights come out as they went in."""

import re
from pathlib import Path

import numpy as np
import pytest

from shared.checkpoints import CheckpointStore, spec_digest
from shared.layout import Volume
from shared.ml.models import build_model
from shared.ml.preprocess import evaluation_view
from shared.ml.weights import read_weights
from shared.records import write_record
from shared.spec import RunSpec

RUN, STEP = "20260101-000000-run-0001", 3000
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "weights.md").read_text(encoding="utf-8")


def code(heading: str) -> str:
    found = re.search(rf"^## {heading}$.*?^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1).replace("<run>", RUN).replace("<step>", str(STEP))


# Keras' own, as it turns variables into arrays in `save_weights`.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_weights_leave_a_checkpoint_with_and_without_tandem_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, spec = Volume(Path("volume")).run(RUN), RunSpec()
    made = build_model(spec.model, image_shape=(24, 24, 3), classes=10, seed=7)
    arrays = read_weights(made)
    write_record(folder.spec, spec)
    CheckpointStore(folder).commit(
        step=STEP,
        fence=1,
        spec_sha256=spec_digest(spec),
        groups={"raw": {name: 0 * array for name, array in arrays.items()}, spec.primary_ema: arrays},
        time=0.0,
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    names: dict[str, object] = {"images": images}
    exec(code("Keras, with tandem's code"), names)
    assert (np.asarray(names["logits"]) == np.asarray(made(evaluation_view(images, spec.augment)))).all()

    names = {"model": build_model(spec.model, image_shape=(24, 24, 3), classes=10, seed=8)}
    exec(code("Keras, without tandem"), names)
    assert all((arrays[name] == array).all() for name, array in read_weights(names["model"]).items())
    assert (tmp_path / "best.weights.h5").stat().st_size > 1_000_000
