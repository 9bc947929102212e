"""How many steps a run makes: as its spec says, or more, once that was extended."""

from shared.records import Desired
from shared.spec import CosineRate, OneCycleRate, RunSpec


def total_steps(spec: RunSpec, desired: Desired | None) -> int:
    """The steps of a run. An extension never makes it shorter, and is passed over where it may not be."""
    if desired is None or desired.steps is None or not extensible(spec):
        return spec.steps
    return max(spec.steps, desired.steps)


def extensible(spec: RunSpec) -> bool:
    """Whether more steps leave the ones before them as they are: the rate's course must not depend on their number."""
    return not isinstance(spec.learning_rate, CosineRate | OneCycleRate)
