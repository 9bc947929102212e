"""RunSpec: everything that decides what a run computes, as one frozen value.

Two runs of equal specs on equal data compute the same numbers: sample order, augmentation, learning rate and averaging
are pure functions of (spec, step). The defaults are those of TensorFlow's CIFAR-10 tutorial. Written to `spec.json` on
the volume and to YAML in `recipes/`; an unknown key is an error, never ignored.
"""

from shared.spec.parsing import Changes, overlay, parse_spec, spec_error
from shared.spec.parts import (
    AlternateSharing,
    AugmentSpec,
    BesideSharing,
    CadenceSpec,
    ConstantRate,
    CosineRate,
    DatasetSpec,
    DivergenceSpec,
    EmaSpec,
    EvaluationSpec,
    ExponentialRate,
    ModelSpec,
    OneCycleRate,
    OptimizerSpec,
    Part,
    PlateauSpec,
    RateSpec,
    RetentionSpec,
    SharingSpec,
    UntilSpec,
)
from shared.spec.run import Precision, RunSpec, ema_kind

__all__ = [
    "AlternateSharing",
    "AugmentSpec",
    "BesideSharing",
    "CadenceSpec",
    "Changes",
    "ConstantRate",
    "CosineRate",
    "DatasetSpec",
    "DivergenceSpec",
    "EmaSpec",
    "EvaluationSpec",
    "ExponentialRate",
    "ModelSpec",
    "OneCycleRate",
    "OptimizerSpec",
    "Part",
    "PlateauSpec",
    "Precision",
    "RateSpec",
    "RetentionSpec",
    "RunSpec",
    "SharingSpec",
    "UntilSpec",
    "ema_kind",
    "overlay",
    "parse_spec",
    "spec_error",
]
