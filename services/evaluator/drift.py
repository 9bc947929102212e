"""How far weights have moved between two checkpoints."""

import numpy as np
import numpy.typing as npt

from shared.checkpoints import Arrays, CheckpointStore
from shared.errors import NotFoundError, VolumeError
from shared.layout import RunFolder
from shared.records import Drift


def drift_since_last(folder: RunFolder, *, step: int, kind: str, weights: Arrays) -> Drift | None:
    """The drift since the checkpoint before, or None if that is not there (any more) or is of another network.

    Args:
        folder: The run.
        step: Of the checkpoint that `weights` are of.
        kind: Their kind; the same kind is compared.
        weights: Arrays by name.
    """
    store = CheckpointStore(folder)
    before = max((other for other in store.steps() if other < step), default=None)
    if before is None:
        return None
    try:
        return drift(store.open(before).load(kind), weights, step=before)
    except (NotFoundError, VolumeError, OSError):
        return None  # pruned meanwhile, or damaged: then its own evaluation tells


def drift(before: Arrays, after: Arrays, *, step: int) -> Drift | None:
    """|after - before| / |before| in Euclidean norms, of each variable and of all together.

    Args:
        before: Arrays by name.
        after: Arrays of the same names and shapes.
        step: Of `before`.

    Returns:
        None if names or shapes differ.
    """
    if {name: array.shape for name, array in before.items()} != {name: array.shape for name, array in after.items()}:
        return None
    moved, length, variables = 0.0, 0.0, {}
    for name, array in sorted(before.items()):
        then, now = array.astype(np.float64), after[name].astype(np.float64)
        squares = _square(now - then), _square(then)
        variables[name] = _ratio(*squares)
        moved, length = moved + squares[0], length + squares[1]
    return Drift(step=step, total=_ratio(moved, length), variables=variables)


def _square(array: npt.NDArray[np.float64]) -> float:
    return float(np.vdot(array, array))


def _ratio(moved: float, length: float) -> float | None:
    return float(np.sqrt(moved / length)) if length else None
