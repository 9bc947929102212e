"""What is told of the training at each log interval: a point of the series, the status, the metrics."""

from collections.abc import Callable

import numpy as np

from services.trainer.engine import Engine, Losses
from services.trainer.journal import Journal
from services.trainer.metrics import TrainerMetrics
from services.trainer.status import Heartbeat
from shared.records import SeriesPoint


class Progress:
    """Tells how far the training is and how fast it goes.

    Args:
        engine: Knows the losses.
        batch_size: Examples a step.
        series: Gets a point each time.
        heartbeat: Shows step, loss and rate.
        check: Called with the step and its losses, once they are told; raises DivergedError.
        metrics: Show them too.
        time: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        batch_size: int,
        series: Journal,
        heartbeat: Heartbeat,
        check: Callable[[int, Losses], None],
        metrics: TrainerMetrics,
        time: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._batch_size = batch_size
        self._series = series
        self._heartbeat = heartbeat
        self._check = check
        self._metrics = metrics
        self._time = time
        self._since = (0, 0.0)

    def begin(self, step: int, now: float) -> None:
        """Measures the rate from here on: at the start, and after a pause."""
        self._since = (step, now)
        self._metrics.step.set(step)

    def tell(self, step: int, now: float) -> None:
        """Tells of the newest step; waits for the device.

        Raises:
            DivergedError: They show that the run has diverged.
        """
        losses = self._engine.losses()
        before, since = self._since
        examples = (step - before) * self._batch_size
        rate = examples / max(now - since, 1e-9)
        self._since = (step, now)
        self._series.append(
            SeriesPoint(
                step=step,
                time=self._time(),
                loss=losses.loss,
                cross_entropy=losses.cross_entropy,
                average_loss=losses.average_loss,
                learning_rate=losses.learning_rate,
                examples_per_second=rate,
            )
        )
        self._show(step, losses, examples=examples, rate=rate)
        self._check(step, losses)

    def _show(self, step: int, losses: Losses, *, examples: int, rate: float) -> None:
        self._heartbeat.update(
            step=step, loss=losses.loss if np.isfinite(losses.loss) else None, examples_per_second=rate
        )
        metrics = self._metrics
        metrics.step.set(step)
        metrics.loss.set(losses.loss)
        metrics.average_loss.set(losses.average_loss)
        metrics.learning_rate.set(losses.learning_rate)
        metrics.rate.set(rate)
        metrics.examples.inc(examples)
