"""The one door to data sets: from a run's `DatasetSpec` to a `Dataset`, whatever its kind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared.data import cifar, folder, idx, npz
from shared.data.cache import ArrayCache
from shared.data.examples import Dataset
from shared.data.holdout import hold_out
from shared.data.shapes import open_shapes
from shared.errors import DatasetError, DatasetMissingError
from shared.layout import Volume
from shared.spec import DatasetSpec

CIFAR_SITE = "https://www.cs.toronto.edu/~kriz"


@dataclass(frozen=True)
class Kind:
    """One kind of data set.

    `find` raises DatasetMissingError when files are not at a root; `open` opens those that are; `placing` tells people
    how to put them there.
    """

    find: Callable[[Path], object]
    open: Callable[[DatasetSpec, Path, ArrayCache], Dataset]
    placing: str


KINDS = {
    "cifar10": Kind(
        find=lambda root: cifar.find(cifar.CIFAR10, root),
        open=lambda _, root, cache: cifar.open_cifar(cifar.CIFAR10, root, notes=cache.root),
        placing=f"Unpack {CIFAR_SITE}/cifar-10-binary.tar.gz there",
    ),
    "cifar100": Kind(
        find=lambda root: cifar.find(cifar.CIFAR100, root),
        open=lambda _, root, cache: cifar.open_cifar(cifar.CIFAR100, root, notes=cache.root),
        placing=f"Unpack {CIFAR_SITE}/cifar-100-binary.tar.gz there",
    ),
    "folder": Kind(
        find=folder.find,
        open=lambda spec, root, cache: folder.open_folder(spec, root, cache=cache),
        placing="Put pictures into train/<class>/ and test/<class>/ there",
    ),
    "npz": Kind(
        find=npz.find,
        open=lambda spec, root, cache: npz.open_npz(spec, root, cache=cache),
        placing="Put one .npz file with x_train, y_train, x_test and y_test there",
    ),
    "idx": Kind(
        find=idx.find,
        open=lambda spec, root, cache: idx.open_idx(spec, root, cache=cache),
        placing="Put train-images-idx3-ubyte, train-labels-idx1-ubyte and their two t10k- counterparts there",
    ),
    "shapes": Kind(
        find=lambda root: root,
        open=lambda spec, _, cache: open_shapes(spec, cache=cache),
        placing="Nothing to do",
    ),
}


def open_dataset(spec: DatasetSpec, *, volume: Volume) -> Dataset:
    """Opens, checks and maps the data set that `spec` names. Nothing is ever downloaded or put in its stead.

    Raises:
        DatasetMissingError: Its files are not there; says where it looked and how to put them in place.
        DatasetCorruptError: A file is there and wrong; names it.
        DatasetError: A folder cannot be read, what is derived from the files cannot be written to the volume, or
            nothing would be left to train on.
    """
    kind = KINDS[spec.kind]
    root = location(spec.kind, spec.path, volume=volume)
    try:
        kind.find(root)
        dataset = kind.open(spec, root, ArrayCache(root=volume.dataset_cache))
    except DatasetMissingError as error:
        placing = f"{kind.placing} ({root}), or let dataset.path name another place"
        raise DatasetMissingError(error.message, where=error.where, hint=error.hint or placing) from error
    except OSError as error:
        raise DatasetError(
            f"cannot be read: {error.strerror or error}", where=str(error.filename or root), hint="Check its rights"
        ) from error
    return hold_out(dataset, spec.holdout) if spec.holdout else dataset


def at_hand(kind: str, path: str | None, volume: Volume) -> bool:
    """Whether the files of a data set are there. They may still be wrong: `open_dataset` finds that."""
    try:
        KINDS[kind].find(location(kind, path, volume=volume))
    except (DatasetMissingError, OSError):
        return False
    return True


def location(kind: str, path: str | None, *, volume: Volume) -> Path:
    """Where the files of a data set are looked for: `path`, or `datasets/<kind>` on the volume."""
    return Path(path) if path is not None else volume.datasets / kind
