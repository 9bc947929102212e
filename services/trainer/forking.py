"""How a run begins with the checkpoint of another one, whose specification may differ from its own."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from services.trainer.engine import Groups
from shared.checkpoints import OPTIMIZER, Arrays, Checkpoint
from shared.errors import SpecError
from shared.layout import MANIFEST
from shared.spec import RunSpec


def adapted(checkpoint: Checkpoint, *, fresh: Groups, spec: RunSpec) -> Groups:
    """The arrays of another run's checkpoint, as far as they fit, for `Engine.restore`.

    Weights must fit. An average whose decay the other run did not keep begins at the raw weights, as every average
    does. What the optimizer remembers is taken over array by array where name and shape agree, and is new elsewhere.

    Args:
        checkpoint: Of the other run; every file that is used is checked against its digest.
        fresh: What the engine's `snapshot` gives before its first step.
        spec: This run's specification.

    Raises:
        SpecError: The network is another one; names the first weight that does not fit.
        CorruptCheckpointError: A file does not match its digest.
    """
    raw = checkpoint.load("raw")
    kept = {kind: checkpoint.load(kind) if kind in checkpoint.manifest.weights else raw for kind in spec.weights_kinds}
    for kind, arrays in kept.items():
        _refuse_unless_fitting(arrays, fresh[kind], source=f"{checkpoint.folder / MANIFEST}: {kind}")
    remembered = checkpoint.load(OPTIMIZER)
    return {**kept, OPTIMIZER: _where_fitting(remembered, fresh[OPTIMIZER])}


def _refuse_unless_fitting(arrays: Arrays, wanted: Arrays, *, source: str) -> None:
    for name in sorted({*arrays, *wanted}):
        has, needs = _shape(arrays, name), _shape(wanted, name)
        if has != needs:
            raise SpecError(
                f"the weights it begins with do not fit its network: {name} is {has}, and should be {needs}",
                where=source,
                hint="Fork with the network, the crop and the classes as they were",
            )


def _where_fitting(arrays: Arrays, wanted: Arrays) -> Mapping[str, npt.NDArray[np.generic]]:
    return {
        name: arrays[name] if _shape(arrays, name) == _shape(wanted, name) else array for name, array in wanted.items()
    }


def _shape(arrays: Arrays, name: str) -> str:
    return "x".join(map(str, arrays[name].shape)) or "a scalar" if name in arrays else "missing"
