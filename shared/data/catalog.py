"""The one door to data sets: from a run's `DatasetSpec` to a `Dataset`, whatever its kind."""

from pathlib import Path

from shared.data import cifar
from shared.data.cache import ArrayCache
from shared.data.examples import Dataset
from shared.data.shapes import open_shapes
from shared.errors import DatasetMissingError
from shared.layout import Volume
from shared.spec import DatasetSpec


def open_dataset(spec: DatasetSpec, *, volume: Volume) -> Dataset:
    """Opens, checks and maps the data set that `spec` names. Nothing is ever downloaded or put in its stead.

    Raises:
        DatasetMissingError: Its files are not there; says where it looked and how to put them in place.
        DatasetCorruptError: A file is there and wrong; names it.
        DatasetError: What is derived from the files cannot be written to the volume.
    """
    cache = ArrayCache(root=volume.dataset_cache)
    root = location(spec.kind, spec.path, volume=volume)
    match spec.kind:
        case "cifar10":
            return cifar.open_cifar(cifar.CIFAR10, root, notes=cache.root)
        case "cifar100":
            return cifar.open_cifar(cifar.CIFAR100, root, notes=cache.root)
        case "shapes":
            return open_shapes(spec, cache=cache)
        case _:
            raise DatasetMissingError("this kind of data set cannot be opened yet", where=str(root))


def location(kind: str, path: str | None, *, volume: Volume) -> Path:
    """Where the files of a data set are looked for: `path`, or `datasets/<kind>` on the volume."""
    return Path(path) if path is not None else volume.datasets / kind
