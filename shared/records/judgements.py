"""The longer parts of a verdict, as they lie in its record: calibration, comparison, drift, recalibration."""

from typing import Literal

from pydantic import Field

from shared.records.record import Value


class ReliabilityBin(Value):
    """The examples whose most probable class got a probability in (`lower`, `upper`]; without any, the means are None.

    Where `confidence` (the mean of those probabilities) is above `accuracy` (the share of right answers among them),
    the model is too sure of itself.
    """

    lower: float
    upper: float
    examples: int
    confidence: float | None
    accuracy: float | None


class Calibration(Value):
    """How far probabilities can be taken at their word.

    `error` is the expected calibration error (C. Guo et al., ICML 2017): the sum over the bins, which are of equal
    width, of (examples in it / all examples) · |accuracy - confidence|.
    """

    error: float
    bins: tuple[ReliabilityBin, ...]


class Comparison(Value):
    """McNemar's test of these weights against the run's best ones of the same kind so far, on the same examples.

    `only_these` and `only_those` count the examples that exactly one of the two gets right. `p_value` is two-sided.
    """

    step: int = Field(description="of the weights compared with")
    precision_at_1: float = Field(description="of the weights compared with")
    only_these: int
    only_those: int
    p_value: float
    method: Literal["exact", "chi-square"]


class Drift(Value):
    """How far the weights have moved since the checkpoint at `step`: |now - then| / |then|, in Euclidean norms.

    `total` is over all weights taken together. None where nothing can be divided by: then they were all zero.
    """

    step: int
    total: float | None
    variables: dict[str, float | None]


class Recalibrated(Value):
    """The same weights with batch normalisation's statistics taken anew, from `examples` training pictures.

    The verdict's own figures are those of the statistics in the checkpoint, which are the ones that are exported.
    """

    examples: int
    precision_at_1: float
    interval: tuple[float, float]
    loss: float
    calibration_error: float
    seconds: float
