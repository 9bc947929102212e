"""The seams between the evaluator's loop, which knows nothing of TensorFlow, and what judges and exports weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from services.evaluator.figures import Figures, Logits
from shared.answers import Answers
from shared.checkpoints import Arrays
from shared.data.examples import Images
from shared.errors import TandemError
from shared.layout import RunFolder
from shared.records import Recalibrated
from shared.spec import RunSpec


class AbandonedError(Exception):
    """The evaluation is not wanted any more: a stop was asked for, or another evaluator has taken over."""


class NotFiniteError(TandemError):
    """The weights answer with infinities or with what is no number. Judging them again would not help."""

    code = "not_finite"


class NotExportableError(TandemError):
    """The model cannot be exported, or its export answers differently. It is judged all the same."""

    code = "not_exportable"


@dataclass(frozen=True)
class Judged:
    """One kind of weights, judged on the whole test set.

    `images` (uint8 [m, height, width, 3]) and `logits` (float32 [m, classes]) are the first few examples and the
    answers that they got, for an export to be compared with. `answers` are those to all examples.
    """

    figures: Figures
    answers: Answers
    seconds: float
    images: Images
    logits: Logits
    classes: tuple[str, ...]
    recalibrated: Recalibrated | None = None


class Judge(Protocol):
    """Judges weights. Not thread-safe."""

    def judge(
        self, spec: RunSpec, weights: Arrays, *, source: str, wanted: Callable[[], bool], averaged: bool = False
    ) -> Judged:
        """Judges one kind of weights of one checkpoint.

        Args:
            spec: The run's spec.
            weights: Arrays by name.
            source: Where the weights came from, for errors.
            wanted: Asked between batches whether to go on.
            averaged: Whether they are an average, whose statistics of batch normalisation were never any batch's.

        Raises:
            AbandonedError: `wanted` said no.
            NotFiniteError: A logit is infinite or not a number.
            CorruptCheckpointError: The weights do not fit the network.
            SpecError, DatasetError: The spec's network or data set cannot be used here.
        """
        ...


class Exporter(Protocol):
    """Makes servable models of judged weights. Not thread-safe."""

    def export(
        self, folder: RunFolder, spec: RunSpec, *, step: int, kind: str, weights: Arrays, judged: Judged
    ) -> bool:
        """Commits an export, unless that step has one already; then removes those that retention does not keep.

        Returns:
            Whether it made one.

        Raises:
            NotExportableError: Why there is none.
            OSError: It could not be written.
        """
        ...
