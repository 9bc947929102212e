"""Figures of a classifier from its logits, counted batch by batch: of each example only its answer is kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.answers import compact
from shared.data.examples import Labels
from shared.records import Calibration, ClassFigures, ReliabilityBin

Logits = npt.NDArray[np.float32]

Z_95 = 1.959964
"""The quantile of the normal distribution that a two-sided interval at 95% takes."""

BINS = 15
"""Of the reliability diagram, as is usual for the expected calibration error."""


@dataclass(frozen=True)
class Figures:
    """What is said about a classifier; `Verdict` explains each figure. `loss` is the mean cross-entropy in nats."""

    examples: int
    precision_at_1: float
    interval: tuple[float, float]
    top_k: int
    precision_at_k: float
    loss: float
    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[ClassFigures, ...]
    calibration: Calibration


class Tally:
    """Counts the answers on a test set, batch by batch.

    Of equal logits the class with the lower number is ranked first, as `argmax` does; so precision at 1, precision at k
    and the confusion matrix always agree with each other.

    Args:
        classes: The classes' names, in the order of their labels.
        top_k: How many of the most probable classes may hold the label; at most the number of classes is used.
    """

    def __init__(self, *, classes: Sequence[str], top_k: int) -> None:
        self._names = tuple(classes)
        self._top_k = min(top_k, len(self._names))
        self._confusion = np.zeros((len(self._names), len(self._names)), np.int64)
        self._in_top_k = 0
        self._loss = 0.0
        self._not_finite = 0
        self._predicted: list[npt.NDArray[np.unsignedinteger]] = []
        self._correct: list[npt.NDArray[np.bool_]] = []
        self._bins = _Bins()

    def add(self, logits: Logits, labels: Labels) -> None:
        """Counts one batch.

        Args:
            logits: float32 [n, classes].
            labels: int32 [n], each from 0 to classes - 1.

        Raises:
            ValueError: The shapes do not fit each other or the classes, or a label is out of range.
        """
        count = len(self._names)
        if logits.shape != (len(labels), count):
            raise ValueError(f"logits of shape {logits.shape} for {len(labels)} examples of {count} classes")
        if len(labels) == 0:
            return
        if labels.min() < 0 or labels.max() >= count:
            raise ValueError(f"a label is not between 0 and {count - 1}")
        finite = np.isfinite(logits).all(axis=1)
        self._not_finite += int(np.count_nonzero(~finite))
        values, labels = logits[finite].astype(np.float64), labels[finite]
        own = values[np.arange(len(labels)), labels][:, None]
        ties_before = (values == own) & (np.arange(count) < labels[:, None])
        rank = np.count_nonzero((values > own) | ties_before, axis=1)
        self._in_top_k += int(np.count_nonzero(rank < self._top_k))
        predicted = values.argmax(axis=1)
        np.add.at(self._confusion, (labels, predicted), 1)
        shifted = values - values.max(axis=1, keepdims=True, initial=-np.inf)
        log_sum = np.log(np.exp(shifted).sum(axis=1))
        self._predicted.append(compact(predicted, classes=count))
        self._correct.append(predicted == labels)
        self._bins.add(np.exp(-log_sum), predicted == labels)
        self._loss += float((log_sum - shifted[np.arange(len(labels)), labels]).sum())

    @property
    def not_finite(self) -> int:
        """How many examples had a logit that is infinite or not a number; they are counted nowhere else."""
        return self._not_finite

    def answers(self) -> tuple[npt.NDArray[np.unsignedinteger], npt.NDArray[np.bool_]]:
        """The most probable class of each example so far, uint8 or uint16 [n], and whether it is the label, bool [n].

        Raises:
            ValueError: No example was counted.
        """
        return np.concatenate(self._predicted), np.concatenate(self._correct)

    def figures(self) -> Figures:
        """The figures of all batches so far.

        Raises:
            ValueError: No example was counted.
        """
        examples = int(self._confusion.sum())
        if not examples:
            raise ValueError("no figures without examples")
        correct = int(np.trace(self._confusion))
        return Figures(
            examples=examples,
            precision_at_1=correct / examples,
            interval=wilson_interval(correct, examples),
            top_k=self._top_k,
            precision_at_k=self._in_top_k / examples,
            loss=self._loss / examples,
            confusion=tuple(tuple(int(cell) for cell in row) for row in self._confusion),
            classes=tuple(self._class(index) for index in range(len(self._names))),
            calibration=self._bins.calibration(),
        )

    def _class(self, index: int) -> ClassFigures:
        hits = int(self._confusion[index, index])
        examples = int(self._confusion[index].sum())
        taken_for = int(self._confusion[:, index].sum())
        return ClassFigures(
            name=self._names[index],
            examples=examples,
            precision=_share(hits, taken_for),
            recall=_share(hits, examples),
            f1=_share(2 * hits, taken_for + examples),
        )


class _Bins:
    """Counts examples by the probability of their most probable class, in bins of equal width over (0, 1]."""

    def __init__(self) -> None:
        self._examples = np.zeros(BINS, np.int64)
        self._confidence = np.zeros(BINS)
        self._correct = np.zeros(BINS, np.int64)

    def add(self, confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]) -> None:
        place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
        self._examples += np.bincount(place, minlength=BINS)
        self._confidence += np.bincount(place, weights=confidence, minlength=BINS)
        self._correct += np.bincount(place[correct], minlength=BINS)

    def calibration(self) -> Calibration:
        # The share of a bin cancels against the means in it, so what is left are differences of sums.
        error = np.abs(self._correct - self._confidence).sum() / self._examples.sum()
        return Calibration(error=float(error), bins=tuple(self._bin(index) for index in range(BINS)))

    def _bin(self, index: int) -> ReliabilityBin:
        examples = int(self._examples[index])
        return ReliabilityBin(
            lower=index / BINS,
            upper=(index + 1) / BINS,
            examples=examples,
            confidence=float(self._confidence[index]) / examples if examples else None,
            accuracy=_share(int(self._correct[index]), examples),
        )


def wilson_interval(correct: int, examples: int, *, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a share (E. B. Wilson, JASA 22, 1927), cut to [0, 1].

    Args:
        correct: Successes.
        examples: Trials, at least one.
        z: Quantile of the normal distribution.
    """
    share = correct / examples
    weight = z * z / examples
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / examples + weight / (4 * examples))
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == examples else min(1.0, centre + half)
    return low, high


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
