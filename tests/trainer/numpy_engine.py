"""An engine without TensorFlow, exact and fast: a linear classifier with momentum and averages, in NumPy.

Its pictures are drawn from a generator; its steps depend on (spec, step) and on what `snapshot` gives, on nothing else.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from services.trainer.engine import Batch, Groups, Losses, Summary
from shared.data.examples import ArrayExamples, Dataset
from shared.layout import Volume
from shared.records import Rollbacks
from shared.spec import DatasetSpec, RunSpec, ema_kind
from shared.summaries import Histogram

PIXELS = 4 * 4 * 3
CLASSES = 3


def small_dataset(*, examples: int = 50, seed: int = 0) -> Dataset:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (examples, 4, 4, 3), dtype=np.uint8)
    labels = generator.integers(0, CLASSES, examples, dtype=np.int32)
    split = ArrayExamples(images, labels)
    return Dataset(kind="small", classes=("a", "b", "c"), train=split, test=split, fingerprint=f"{seed:064x}")


def open_small_dataset(spec: DatasetSpec, *, volume: Volume) -> Dataset:
    return small_dataset(seed=spec.seed)


class NumpyEngine:
    def __init__(
        self, spec: RunSpec, *, before_step: Callable[[int], None] = lambda step: None, seconds_per_step: float = 0.0
    ) -> None:
        self._spec = spec
        self._before_step = before_step
        self._seconds_per_step = seconds_per_step
        self._step = 0
        self._rollbacks = Rollbacks()
        generator = np.random.default_rng(spec.seed)
        self._weights = generator.normal(0, 0.01, (PIXELS, CLASSES)).astype(np.float32)
        self._momentum = np.zeros_like(self._weights)
        self._averages = {ema_kind(decay): self._weights.copy() for decay in spec.ema.decays}
        self._losses = np.zeros(2, np.float64)
        self.calls: list[int] = []
        self.told: dict[str, str] = {}

    @property
    def step(self) -> int:
        return self._step

    @property
    def numerics(self) -> dict[str, str]:
        return {"numpy": np.__version__, **self.told}

    def train(self, batches: Sequence[Batch]) -> None:
        self.calls.append(len(batches))
        for batch in batches:
            assert batch.step == self._step
            self._before_step(self._step)
            if self._seconds_per_step:
                time.sleep(self._seconds_per_step)
            self._learn(batch)

    def _learn(self, batch: Batch) -> None:
        count = len(batch.labels)
        noise = np.random.default_rng([self._spec.seed, self._step]).normal(0, 0.01, (count, PIXELS))
        inputs = (batch.images.reshape(count, PIXELS) / 255.0 + noise).astype(np.float32)
        logits = inputs @ self._weights
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        loss = float(-np.log(probabilities[np.arange(count), batch.labels] + 1e-12).mean())
        probabilities[np.arange(count), batch.labels] -= 1
        self._momentum = (0.9 * self._momentum + inputs.T @ probabilities / count).astype(np.float32)
        self._weights = (self._weights - self._rate * self._momentum).astype(np.float32)
        self._step += 1
        for decay in self._spec.ema.decays:
            share = min(decay, (1 + self._step) / (10 + self._step))
            kind = ema_kind(decay)
            self._averages[kind] = (share * self._averages[kind] + (1 - share) * self._weights).astype(np.float32)
        average = loss if self._step == 1 else 0.9 * self._losses[1] + 0.1 * loss
        self._losses = np.array([loss, average])

    @property
    def _rate(self) -> float:
        return float(getattr(self._spec.learning_rate, "rate", 0.1)) * self._rollbacks.rate_factor(self._step)

    def spoil(self) -> None:
        """Makes a weight something that is no number, as a diverging run does."""
        self._weights[0, 0] = np.nan

    def losses(self) -> Losses:
        loss, average = self._losses
        return Losses(
            loss=float(loss), cross_entropy=float(loss), average_loss=float(average), learning_rate=self._rate
        )

    def summarize(self, batch: Batch) -> Summary:
        assert batch.step == self._step
        return Summary(
            losses={"total": (float(self._losses[0]), float(self._losses[1]))},
            learning_rate=self._rate,
            weights={"kernel": histogram_of(self._weights)},
            gradients={},
            activations={},
            sparsity={},
            inputs=batch.images[:1],
        )

    def snapshot(self) -> Groups:
        return {
            "raw": {"kernel": self._weights.copy()},
            **{kind: {"kernel": array.copy()} for kind, array in self._averages.items()},
            "optimizer": {"momentum": self._momentum.copy(), "losses": self._losses.copy()},
        }

    def slow(self, rollbacks: Rollbacks) -> None:
        self._rollbacks = rollbacks

    def restore(self, groups: Groups, *, step: int) -> None:
        self._weights = np.array(groups["raw"]["kernel"])
        self._averages = {kind: np.array(groups[kind]["kernel"]) for kind in self._averages}
        self._momentum = np.array(groups["optimizer"]["momentum"])
        self._losses = np.array(groups["optimizer"]["losses"])
        self._step = step


def histogram_of(array: np.ndarray) -> Histogram:
    counts, _ = np.histogram(array, bins=4)
    low, high, total = float(array.min()), float(array.max()), float(array.sum())
    return Histogram(
        low=low, high=high, total=total, squares=float(np.square(array).sum()), counts=counts.astype(float)
    )


def bytes_of(groups: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, bytes]:
    return {f"{kind}/{name}": array.tobytes() for kind, arrays in groups.items() for name, array in arrays.items()}
