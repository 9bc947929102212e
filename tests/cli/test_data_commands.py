"""`tandem data` and the test picture work on files of this machine, with no gateway."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from services.cli.app import run
from services.cli.client import Client
from services.cli.session import Session
from services.cli.settings import CliSettings
from services.cli.up.picture import write_test_picture
from shared.data.examples import ArrayExamples, Dataset


def tandem(*arguments: str) -> tuple[int, str, str]:
    def connect(_url: str) -> Client:
        raise AssertionError("no gateway is needed")

    output, complaints = io.StringIO(), io.StringIO()
    session = Session(
        settings=CliSettings(), connect=connect, console=Console(file=output), errors=Console(file=complaints)
    )
    return run(arguments, session), output.getvalue(), complaints.getvalue()


def cifar10(folder: Path, records: int = 20) -> Path:
    folder.mkdir(parents=True)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n")
    for number, name in enumerate(["data_batch_1.bin", "test_batch.bin"]):
        data = np.random.default_rng(number).integers(0, 256, (records, 3073), np.uint8)
        data[:, 0] = np.arange(records) % 10
        (folder / name).write_bytes(data.tobytes())
    return folder


def test_describe_tells_counts_and_classes(tmp_path: Path) -> None:
    data, volume = cifar10(tmp_path / "pictures"), tmp_path / "volume"
    code, output, complaints = tandem("data", "describe", "--data", str(data), "--volume", str(volume))
    assert (code, complaints) == (0, "")
    assert "pictures     20 to train, 20 to test\nsize         32 x 32, 3 channels\n" in output
    assert "class        ship              2 to train       2 to test" in output


def test_describe_as_json_is_one_document(tmp_path: Path) -> None:
    data, volume = cifar10(tmp_path / "pictures"), tmp_path / "volume"
    code, output, _ = tandem("data", "describe", "cifar10", "--data", str(data), "--volume", str(volume), "--json")
    assert code == 0
    assert json.loads(output)["train_counts"] == [2] * 10


def test_describe_of_a_torn_file_names_it(tmp_path: Path) -> None:
    data = cifar10(tmp_path / "pictures")
    with (data / "data_batch_1.bin").open("ab") as file:
        file.write(b"\x00")
    code, _, complaints = tandem("data", "describe", "--data", str(data), "--volume", str(tmp_path / "volume"))
    assert code == 2
    assert f"{data}/data_batch_1.bin" in complaints and complaints.count("\n") == 1


def test_describe_of_a_kind_that_there_is_not_names_the_field(tmp_path: Path) -> None:
    code, _, complaints = tandem("data", "describe", "mnist", "--volume", str(tmp_path))
    assert code == 2 and "dataset.kind" in complaints


def test_describe_of_missing_data_says_where_it_looked(tmp_path: Path) -> None:
    code, _, complaints = tandem("data", "describe", "--volume", str(tmp_path))
    assert code == 2 and str(tmp_path / "datasets" / "cifar10") in complaints


def test_fetch_takes_what_is_there_already(tmp_path: Path) -> None:
    folder = cifar10(tmp_path / "datasets" / "cifar10")
    assert tandem("data", "fetch", "--volume", str(tmp_path)) == (0, f"{folder}\n", "")


@pytest.mark.parametrize(("number", "index"), [(1, 1), (7, 1)])
def test_picture_on_the_volume_is_the_pixels_of_the_test_split(tmp_path: Path, number: int, index: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    examples = ArrayExamples(images, np.array([2, 0, 1]))
    dataset = Dataset(kind="shapes", classes=("disc", "ring", "star"), train=examples, test=examples, fingerprint="")
    picture = write_test_picture(dataset, tmp_path / "up", number=number)
    assert (picture.number, picture.label) == (index, "disc")
    assert np.array_equal(np.asarray(Image.open(picture.path)), images[index])
    assert picture.path.read_bytes() == picture.data
