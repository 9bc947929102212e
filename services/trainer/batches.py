"""Batches made ahead of the step in a thread, from memory or from memory-mapped files.

The thread stays at most `ahead` batches in front, so a data set larger than memory never fills it. It supersedes the
tutorial's queue runners; `services.trainer.sample_order` says why no shuffle queue is needed.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator

import numpy as np

from services.trainer.engine import Batch
from services.trainer.sample_order import SampleOrder
from shared.data.examples import Examples


class PrefetchedBatches:
    """A `BatchSource`: the batch of a step holds the next `batch_size` examples of the order, across epochs' ends.

    Args:
        examples: What is learnt from.
        order: In which order.
        batch_size: Examples a step.
        ahead: How many finished batches may wait.
        alternate: Whether each example is mirrored in every second epoch; see `AugmentSpec.flip`.
    """

    def __init__(
        self, *, examples: Examples, order: SampleOrder, batch_size: int, ahead: int, alternate: bool = False
    ) -> None:
        self._examples = examples
        self._order = order
        self._batch_size = batch_size
        self._ahead = ahead
        self._alternate = alternate

    def batch(self, step: int) -> Batch:
        """The batch of one step, made now."""
        place = {"start": step * self._batch_size, "count": self._batch_size}
        images, labels = self._examples.gather(self._order.indices(**place))
        if self._alternate:
            mirrored = self._order.mirrored(**place)
            images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        return Batch(step=step, images=images, labels=labels)

    def batches(self, *, start: int, stop: int) -> Generator[Batch, None, None]:
        """The batches of steps `start` to `stop` - 1. Closing the generator ends its thread before it returns.

        Raises:
            Exception: Whatever reading an example raised, at the step whose batch could not be made.
        """
        buffer = _Buffer(room=self._ahead)
        thread = threading.Thread(
            target=buffer.fill, args=(self.batch, start, stop), name="trainer-batches", daemon=True
        )
        thread.start()
        try:
            for _ in range(start, stop):
                yield buffer.take()
        finally:
            buffer.close()
            thread.join()


class _Buffer:
    """Passes batches from the thread that makes them to the loop; wakes either side without polling."""

    def __init__(self, *, room: int) -> None:
        self._room = room
        self._changed = threading.Condition()
        self._batches: deque[Batch] = deque()
        self._error: BaseException | None = None
        self._closed = False

    def fill(self, make: Callable[[int], Batch], start: int, stop: int) -> None:
        for step in range(start, stop):
            try:
                batch = make(step)
            except BaseException as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._batches) < self._room)
                if self._closed:
                    return
                self._batches.append(batch)
                self._changed.notify_all()

    def take(self) -> Batch:
        with self._changed:
            self._changed.wait_for(lambda: self._batches or self._error)
            if not self._batches and self._error is not None:
                raise self._error
            batch = self._batches.popleft()
            self._changed.notify_all()
            return batch

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._batches.clear()
            self._changed.notify_all()
