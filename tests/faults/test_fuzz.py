"""Whatever comes from outside is taken or refused by a named error, and breaks nothing.

Specifications, recipes, manifests, JSON lines, weights, data sets; bodies of predictions and pictures are fuzzed in
tests/gateway/predict, by tests of rows 37 and 38.

`corpus/<kind>/` keeps inputs that once broke something, or nearly; each is tried first and always.
"""

import contextlib
import copy
import gzip
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.streams.tail import Tail
from shared.atomic import Digest
from shared.checkpoints import CheckpointStore
from shared.data.catalog import open_dataset
from shared.errors import CorruptCheckpointError, DatasetError, SpecError, TandemError, UnknownSchemaError
from shared.layout import Volume
from shared.recipes import load_recipe
from shared.records import CheckpointManifest, Event, FileRecord, encode_record, read_lines
from shared.spec import DatasetSpec, RunSpec, parse_spec
from tests.faults.commits import RUN, commit_step

CORPUS = Path(__file__).parent / "corpus"
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["\ud800", "../..", "\x00", "1e999", 10**400, -1, 0.0, "cosine", "shapes", "ema-1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
VALID: dict[str, Any] = json.loads(RunSpec().model_dump_json())


def corpus(kind: str) -> list[Path]:
    return sorted((CORPUS / kind).iterdir())


def spoiled(values: Any, data: st.DataObject) -> Any:
    """A copy in which something, however deep, is another value, gone, or there besides."""
    values = copy.deepcopy(values)
    place = values
    while isinstance(place, dict) and place:
        key = data.draw(st.sampled_from(sorted(place)))
        if isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        what = data.draw(st.sampled_from(["change", "remove", "add"]))
        if what == "change":
            place[key] = data.draw(VALUES)
        elif what == "remove":
            del place[key]
        else:
            place[data.draw(st.text(max_size=5))] = data.draw(VALUES)
        break
    return values


def take_specification(values: Any) -> None:
    try:
        spec = parse_spec(values, source="fuzz")
    except SpecError as error:
        assert str(error)
        return
    # What is taken can be written down, and is the same when it is read again.
    assert RunSpec.model_validate_json(encode_record(spec)) == spec


@pytest.mark.parametrize("path", corpus("specifications"), ids=lambda path: path.name)
def test_specifications_of_the_corpus_are_taken_or_refused(path: Path) -> None:
    take_specification(json.loads(path.read_text()))


@FUZZ
@given(st.data())
def test_a_specification_is_taken_or_refused_by_its_fields(data: st.DataObject) -> None:
    take_specification(spoiled(VALID, data))
    take_specification(data.draw(VALUES))


def take_recipe(path: Path) -> None:
    with contextlib.suppress(SpecError):
        parse_spec(load_recipe(path), source=str(path))


@pytest.mark.parametrize("path", corpus("recipes"), ids=lambda path: path.name)
def test_recipes_of_the_corpus_are_taken_or_refused(path: Path) -> None:
    take_recipe(path)


@FUZZ
@given(st.binary(max_size=80) | st.text(alphabet="abc:-{}[]!&*#|>'\"\n %@0.", max_size=80).map(str.encode))
def test_a_recipe_is_taken_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(data)
    take_recipe(path)


def mutated(draw: Callable[[Any], Any], whole: bytes) -> bytes:
    """The bytes with some of them changed, left out, repeated or put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        what = draw(st.sampled_from(["flip", "cut", "put", "end"]))
        if what == "flip" and data:
            data[at] ^= draw(st.integers(1, 255))
        elif what == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif what == "put":
            data[at:at] = draw(st.binary(min_size=1, max_size=20))
        else:
            del data[at:]
    return bytes(data)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    made = CheckpointStore(Volume(tmp_path).run(RUN))
    commit_step(made, 1)
    return made


@FUZZ
@given(st.data())
def test_a_manifest_is_read_or_corrupt(store: CheckpointStore, tmp_path: Path, data: st.DataObject) -> None:
    path = Volume(tmp_path).run(RUN).checkpoint(1) / "manifest.json"
    whole = path.read_bytes()
    try:
        path.write_bytes(mutated(data.draw, whole))
        with contextlib.suppress(CorruptCheckpointError, UnknownSchemaError):
            store.open(1).verify()
    finally:
        path.write_bytes(whole)


@FUZZ
@given(st.data())
def test_weights_whose_digest_fits_are_read_or_corrupt(
    store: CheckpointStore, tmp_path: Path, data: st.DataObject
) -> None:
    # As whoever may write to the volume could make them.
    folder = Volume(tmp_path).run(RUN).checkpoint(1)
    whole, manifest = (folder / "raw.safetensors").read_bytes(), (folder / "manifest.json").read_bytes()
    made = mutated(data.draw, whole)
    digest = Digest.of(made)
    record = CheckpointManifest.model_validate_json(manifest)
    files = record.files | {"raw.safetensors": FileRecord(size=digest.size, sha256=digest.sha256)}
    try:
        (folder / "raw.safetensors").write_bytes(made)
        (folder / "manifest.json").write_bytes(encode_record(record.model_copy(update={"files": files})))
        with contextlib.suppress(CorruptCheckpointError):
            store.open(1).load("raw")
    finally:
        (folder / "raw.safetensors").write_bytes(whole)
        (folder / "manifest.json").write_bytes(manifest)


def follow_lines(path: Path) -> None:
    found = [event for _, event in read_lines(path, Event)]
    assert all(isinstance(event, Event) for event in found)
    tail = Tail(path=path, render=lambda line: Event.model_validate_json(line).kind.encode() if line else None)
    tail.look()
    offset, seen = 0, 0
    while lines := tail.lines(offset):
        assert lines[-1].end > offset
        offset, seen = lines[-1].end, seen + len(lines)
    assert seen <= path.read_bytes().count(b"\n")


@FUZZ
@given(st.data())
def test_lines_are_read_or_passed_over(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "events.jsonl"
    line = Event(time=1.0, service="trainer", kind="test", message="ä\n", step=3).model_dump_json().encode() + b"\n"
    path.write_bytes(mutated(data.draw, line * 3) + data.draw(st.sampled_from([b"", line, line[:-1], line[:9]])))
    follow_lines(path)


def cifar(folder: Path) -> DatasetSpec:
    rows = np.random.default_rng(0).integers(0, 10, (4, 3073), dtype=np.uint8)
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (folder / name).write_bytes(rows.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n")
    return DatasetSpec(kind="cifar10", path=str(folder))


def npz(folder: Path) -> DatasetSpec:
    images, labels = np.zeros((6, 8, 8, 3), np.uint8), np.arange(6, dtype=np.uint8) % 3
    buffer = io.BytesIO()
    np.savez(buffer, x_train=images, y_train=labels, x_test=images, y_test=labels)
    (folder / "data.npz").write_bytes(buffer.getvalue())
    return DatasetSpec(kind="npz", path=str(folder))


def idx(folder: Path) -> DatasetSpec:
    for name, count in (("train", 4), ("t10k", 2)):
        images = b"\x00\x00\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (count, 8, 8)) + bytes(count * 64)
        labels = b"\x00\x00\x08\x01" + count.to_bytes(4, "big") + bytes(range(count))
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return DatasetSpec(kind="idx", path=str(folder))


@pytest.mark.parametrize("make", [cifar, npz, idx])
@settings(FUZZ, max_examples=40)
@given(st.data())
def test_a_data_set_is_opened_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path], DatasetSpec], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("data")
    spec = make(folder)
    victim = data.draw(st.sampled_from(sorted(folder.iterdir())))
    victim.write_bytes(mutated(data.draw, victim.read_bytes()))
    try:
        dataset = open_dataset(spec, volume=Volume(folder / "volume"))
    except DatasetError as error:
        assert str(folder) in str(error.where)
    except TandemError as error:
        pytest.fail(f"{type(error).__name__} is no error of a data set: {error}")
    else:
        images, labels = dataset.train.gather(np.arange(len(dataset.train)))
        assert images.dtype == np.uint8
        assert all(0 <= label < len(dataset.classes) for label in labels)
        assert math.prod(images.shape) > 0
