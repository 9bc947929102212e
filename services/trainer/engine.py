"""The seam between the outer loop, which knows nothing of TensorFlow, and what computes a step."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shared.data.examples import Images, Labels
from shared.records import Rollbacks
from shared.summaries import Histogram

Groups = Mapping[str, Mapping[str, npt.NDArray[np.generic]]]


@dataclass(frozen=True)
class Batch:
    """What one step learns from: undistorted pictures, uint8 [batch, height, width, 3], and labels, int32 [batch].

    `step` is the number of steps made before this one; with the seed it decides the augmentation.
    """

    step: int
    images: Images
    labels: Labels


@dataclass(frozen=True)
class Losses:
    """The losses of the newest step, and the 0.9 moving average of the total as the tutorial keeps it."""

    loss: float
    cross_entropy: float
    average_loss: float
    learning_rate: float


@dataclass(frozen=True)
class Summary:
    """What people watch a network by, after some steps.

    `losses` are those of the newest step by name, each as it was and as its 0.9 moving average, and `learning_rate` is
    that step's; before the first step there are none. `gradients`, `activations` and `inputs` are what the next step
    would see and do. A histogram is left out if its tensor holds something that is not a finite number.
    """

    losses: Mapping[str, tuple[float, float]]
    learning_rate: float
    weights: Mapping[str, Histogram]
    gradients: Mapping[str, Histogram]
    activations: Mapping[str, Histogram]
    sparsity: Mapping[str, float]
    inputs: Images


class Engine(Protocol):
    """Holds weights, averages and optimizer, and makes steps. Not thread-safe."""

    @property
    def step(self) -> int:
        """The number of steps made."""
        ...

    @property
    def numerics(self) -> dict[str, str]:
        """What decides the last bits of results: device, versions, kernels."""
        ...

    def train(self, batches: Sequence[Batch]) -> None:
        """Makes one step for each batch, in order. May return before the device has finished."""
        ...

    def losses(self) -> Losses:
        """The losses of the newest step. Waits for the device."""
        ...

    def summarize(self, batch: Batch) -> Summary:
        """What people watch, with the batch of the next step. Changes nothing. Waits for the device."""
        ...

    def snapshot(self) -> Groups:
        """Weights, averages and optimizer copied to host memory: `raw`, each `ema-<decay>`, `optimizer`, by name."""
        ...

    def slow(self, rollbacks: Rollbacks) -> None:
        """Lowers the rate by what these say, from the steps on that they say."""
        ...

    def restore(self, groups: Groups, *, step: int) -> None:
        """Takes over what `snapshot` gave at `step`. From here on it computes the same bits as the one that gave it."""
        ...


class BatchSource(Protocol):
    """Batches from any step on, as a pure function of (seed, step)."""

    def batches(self, *, start: int, stop: int) -> Generator[Batch, None, None]:
        """The batches of steps `start` to `stop` - 1, made ahead of being asked for. Close it to free its thread."""
        ...
