"""Pictures that wait are taken together; nobody waits for company.

A thread takes its share of what waits for one model, runs the model once, and hands each request its part; there may
be several threads, each with a batch of its own. An idle machine therefore answers a single picture at once, and a busy
one takes more at a time the longer the queue is, up to `together`: on a processor larger batches take as long for each
picture, and only keep those in them waiting. The queue is bounded in pictures. Requests whose deadline has passed or
whose client has gone are dropped when their turn comes, before anything is computed for them.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.gateway.predict.metrics import PredictMetrics
from services.gateway.predict.models import Images, LoadedModel, Logits
from shared.errors import DeadlineError, InferenceError, NotFiniteError, OverloadedError, TandemError, UnavailableError

Probabilities = npt.NDArray[np.float64]

QUICK_SECONDS = 0.001
"""So long the event loop may be held up for one picture; waking a thread for it takes a tenth of that."""

log = logging.getLogger(__name__)


class Outputs(NamedTuple):
    """What a model answers to n pictures; every number is finite.

    Attributes:
        logits: float32 [n, classes].
        probabilities: float64 [n, classes]; each row sums to 1.
    """

    logits: Logits
    probabilities: Probabilities


@dataclass(eq=False, slots=True)
class Work:
    """One request's pictures on their way through a model.

    `future` belongs to the event loop that made it; it is resolved there. Cancelling it gives the work up.
    """

    model: LoadedModel
    images: Images
    deadline: float
    future: asyncio.Future[Outputs]


class Batcher:
    """The queue before the models, and the threads behind it.

    Args:
        clock: Monotonic seconds, the same as the deadlines'.
        metrics: Where batches are counted.
        together: The most pictures of several requests taken together; one request is never divided.
        max_waiting: The most pictures that wait.
        workers: How many batches are computed at once.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        metrics: PredictMetrics,
        together: int = 8,
        max_waiting: int = 512,
        workers: int = 1,
    ) -> None:
        self._together = together
        self._max_waiting = max_waiting
        self._clock = clock
        self._metrics = metrics
        self._changed = threading.Condition()
        self._queue: deque[Work] = deque()
        self._waiting = 0
        self._busy = 0
        self._stopped = False
        self._workers = workers
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Starts the threads."""
        for number in range(self._workers):
            thread = threading.Thread(target=self._serve, name=f"predict-infer-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Answers what waits, then ends the threads."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def submit(self, model: LoadedModel, images: Images, *, deadline: float) -> Work:
        """Puts pictures into the queue. Called on an event loop.

        Args:
            model: What is to answer; the request keeps it to its end.
            images: uint8 of shape [n, height, width, 3], as the model takes them.
            deadline: On the clock; afterwards the answer is DeadlineError.

        Returns:
            Work whose future becomes the outputs, or a TandemError.

        Raises:
            OverloadedError: As much waits as may wait.
            UnavailableError: The gateway is stopping.
        """
        work = Work(model, images, deadline, asyncio.get_running_loop().create_future())
        with self._changed:
            if self._stopped:
                raise UnavailableError("the gateway is stopping")
            if self._waiting and self._waiting + len(images) > self._max_waiting:
                self._drop_abandoned()
            if self._waiting and self._waiting + len(images) > self._max_waiting:
                raise OverloadedError(
                    f"{self._waiting} pictures wait already; {self._max_waiting} may", hint="Ask again in a second"
                )
            self._queue.append(work)
            self._waiting += len(images)
        # Whatever else the loop has read by now is put into the queue before anybody is woken for it.
        work.future.get_loop().call_soon(self._wake)
        return work

    def _wake(self) -> None:
        with self._changed:
            if not self._is_done_sooner_here():
                self._changed.notify(min(len(self._queue), self._workers - self._busy))
                return
            batch = self._take()
            self._busy += 1
        self._answer(batch, alone=True)

    def _is_done_sooner_here(self) -> bool:
        """Whether what waits is one picture, and computing it takes hardly longer than waking a thread for it."""
        if self._busy or self._stopped or not self._threads or len(self._queue) != 1:
            return False
        work = self._queue[0]
        return work.model.alone_seconds < QUICK_SECONDS and len(work.images) == 1

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._stopped:
                        return
                    self._metrics.waiting.set(0)
                    self._changed.wait()
                batch = self._take()
                self._metrics.waiting.set(self._waiting)
                self._busy += 1
                alone = self._busy == 1 and not self._queue
            self._answer(batch, alone=alone and len(batch) == 1 and len(batch[0].images) == 1)

    def _take(self) -> list[Work]:
        """The oldest living request and those behind it that ask the same model; the others keep their order.

        What waits is shared out among the threads that have nothing to do.
        """
        batch: list[Work] = []
        left: deque[Work] = deque()
        images = 0
        now = self._clock()
        # Half of an even share each, if there are several: who is done first finds something left.
        parts = 2 * max(1, self._workers - self._busy) if self._workers > 1 else 1
        most = min(self._together, -(-self._waiting // parts))
        while self._queue and images < most:
            work = self._queue.popleft()
            if work.future.cancelled():
                self._waiting -= len(work.images)
            elif work.deadline <= now:
                self._waiting -= len(work.images)
                _hand_out([work], [DeadlineError("its turn did not come in time", hint="Ask again, or less at once")])
            elif batch and (work.model is not batch[0].model or images + len(work.images) > most):
                left.append(work)
            else:
                batch.append(work)
                images += len(work.images)
        self._queue.extendleft(reversed(left))
        self._waiting -= images
        return batch

    def _drop_abandoned(self) -> None:
        living = [work for work in self._queue if not work.future.cancelled()]
        self._queue = deque(living)
        self._waiting = sum(len(work.images) for work in living)

    def _answer(self, batch: list[Work], *, alone: bool) -> None:
        results = self._results(batch, alone=alone) if batch else []
        with self._changed:
            self._busy -= 1  # before anybody learns of an answer and asks again
        if batch:
            _hand_out(batch, results)

    def _results(self, batch: list[Work], *, alone: bool) -> list[Outputs | TandemError]:
        begin = self._clock()
        try:
            images = batch[0].images if len(batch) == 1 else np.concatenate([work.images for work in batch])
            model = batch[0].model
            logits = model.infer_alone(images) if alone else model.infer(images)
            outputs = Outputs(logits, softmax(logits))
        except Exception as error:  # the loop's outer edge: the next batch must have its chance
            run, step = batch[0].model.key
            log.exception("step %s of %s failed on %s pictures", step, run, sum(len(work.images) for work in batch))
            return [InferenceError(f"the model failed: {error}", where=f"step {step} of run {run}") for _ in batch]
        seconds = self._clock() - begin
        if alone:
            model.alone_seconds = min(seconds, model.alone_seconds)
        self._metrics.inferred(images=len(images), seconds=seconds)
        return _shares(batch, outputs)


def softmax(logits: Logits) -> Probabilities:
    """Probabilities from logits, row by row, in float64. A row with a number that is none becomes NaN throughout."""
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
        result: Probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    result[~np.isfinite(logits).all(axis=1)] = np.nan
    return result


def _shares(batch: list[Work], outputs: Outputs) -> list[Outputs | TandemError]:
    results: list[Outputs | TandemError] = []
    finite = np.isfinite(outputs.probabilities[:, 0])
    all_finite, at = bool(finite.all()), 0
    for work in batch:
        end = at + len(work.images)
        if all_finite or finite[at:end].all():
            results.append(Outputs(outputs.logits[at:end], outputs.probabilities[at:end]))
        else:
            run, step = work.model.key
            instance = int(np.flatnonzero(~finite[at:end])[0])
            results.append(
                NotFiniteError(
                    f"step {step} of run {run} answered with a number that is none", where=f"instances.{instance}"
                )
            )
        at = end
    return results


def _hand_out(batch: list[Work], results: list[Outputs | TandemError] | list[DeadlineError]) -> None:
    """Resolves the futures on their loop, all in one call."""

    def resolve() -> None:
        for work, result in zip(batch, results, strict=True):
            if work.future.done():
                continue
            if isinstance(result, TandemError):
                work.future.set_exception(result)
            else:
                work.future.set_result(result)

    # A loop that has closed meanwhile has nobody waiting.
    loop = batch[0].future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(resolve)
