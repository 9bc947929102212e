from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from shared.data.catalog import KINDS, at_hand, open_dataset
from shared.errors import DatasetMissingError
from shared.layout import Volume
from shared.spec import DatasetSpec


def test_every_kind_of_the_spec_can_be_opened():
    assert set(KINDS) == set(get_args(DatasetSpec.model_fields["kind"].annotation))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"shapes"}))
@pytest.mark.parametrize("path", [None, "/no/such/place"])
def test_missing_files_are_told_with_where_and_what_to_do(volume: Volume, kind: str, path: str | None):
    spec = DatasetSpec.model_validate({"kind": kind, "path": path})
    with pytest.raises(DatasetMissingError) as caught:
        open_dataset(spec, volume=volume)
    place = path or str(volume.datasets / kind)
    assert place in str(caught.value.where)
    assert caught.value.hint
    assert not at_hand(kind, path, volume)
    assert not volume.root.exists()  # looking leaves no trace


def test_path_to_something_that_is_no_folder_is_missing_data(volume: Volume, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x")
    for kind in sorted(set(KINDS) - {"shapes", "npz"}):
        with pytest.raises(DatasetMissingError):
            open_dataset(DatasetSpec.model_validate({"kind": kind, "path": str(tmp_path / "file")}), volume=volume)


def test_cifar10_is_at_hand_once_its_files_are(write_cifar10: Callable[..., Path], volume: Volume):
    assert not at_hand("cifar10", None, volume)
    folder = write_cifar10(volume.datasets / "cifar10")
    assert at_hand("cifar10", None, volume)
    assert at_hand("cifar10", str(folder), volume)
    (folder / "batches.meta.txt").unlink()
    assert not at_hand("cifar10", None, volume)


def test_shapes_are_always_at_hand(volume: Volume):
    assert at_hand("shapes", None, volume)


def test_npz_is_at_hand_by_its_file(volume: Volume, tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=np.zeros(1))
    assert at_hand("npz", str(tmp_path / "a.npz"), volume)
