"""The devices that share the work of a step: one, or several with a copy of everything that learns on each.

With several, each takes its part of the global batch, gradients are averaged between them, and each moves its own copy
of weights, averages and optimizer by the same average, so that the copies stay equal bit for bit. That is how the
tutorial trains with several GPUs (`cifar10_multi_gpu_train.py`), without its detour by the processor's memory.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Protocol

import tensorflow as tf

from services.trainer.devices import device_names
from shared.errors import SpecError

Work = Callable[[Any, Any, Any], None]


class Replicas(Protocol):
    """Where a step is computed."""

    @property
    def names(self) -> tuple[str, ...]:
        """The devices, such as `GPU:0`."""
        ...

    def scope(self) -> AbstractContextManager[Any]:
        """Within it variables are made, on every device."""
        ...

    def run(self, work: Work, images: Any, labels: Any) -> None:
        """Has every device do `work` on its part of the batch: pictures, labels, the first one's place in the batch."""
        ...

    def average(self, tensors: Any) -> Any:
        """The mean over the devices of the tensors in a nested structure; called within `work`."""
        ...


class OneDevice:
    """Everything on one device.

    Args:
        name: Which.
        chosen: Whether somebody named it; TensorFlow takes its first one otherwise.
    """

    def __init__(self, *, name: str, chosen: bool) -> None:
        self._name = name
        self._chosen = chosen

    @property
    def names(self) -> tuple[str, ...]:
        """The device."""
        return (self._name,)

    def scope(self) -> AbstractContextManager[Any]:
        """Within it variables are made on the device."""
        place: AbstractContextManager[Any] = tf.device(self._name) if self._chosen else nullcontext()
        return place

    def run(self, work: Work, images: Any, labels: Any) -> None:
        """Does the work on the whole batch."""
        with self.scope():
            work(images, labels, 0)

    def average(self, tensors: Any) -> Any:
        """The tensors as they are."""
        return tensors


class MirroredDevices:
    """A copy of everything on each of several devices, by `tf.distribute.MirroredStrategy`.

    Args:
        names: The devices, at least two of one kind.
    """

    def __init__(self, *, names: Sequence[str]) -> None:
        self._names = tuple(names)
        # On processors TensorFlow's own choice, collective operations, ties all engines of a process to one another.
        between = tf.distribute.ReductionToOneDevice() if self._names[0].startswith("CPU") else None
        self._strategy = tf.distribute.MirroredStrategy(self._names, cross_device_ops=between)

    @property
    def names(self) -> tuple[str, ...]:
        """The devices."""
        return self._names

    def scope(self) -> AbstractContextManager[Any]:
        """Within it variables are made on every device."""
        stack = ExitStack()
        stack.enter_context(self._strategy.scope())
        stack.enter_context(tf.variable_creator_scope(_with_aggregation))
        return stack

    def run(self, work: Work, images: Any, labels: Any) -> None:
        """Has each device do the work on an equal part of the batch."""
        size = images.shape[0] // len(self._names)

        def part_of_work(images: Any, labels: Any) -> None:
            first = tf.distribute.get_replica_context().replica_id_in_sync_group * size
            with tf.device("CPU:0"):  # so that a device is sent its own part alone
                part = tf.slice(images, [first, 0, 0, 0], [size, *images.shape[1:]])
                part_labels = tf.slice(labels, [first], [size])
            work(part, part_labels, first)

        self._strategy.run(part_of_work, args=(images, labels))

    def average(self, tensors: Any) -> Any:
        """The mean over the devices, the same bits on each of them."""
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, tensors)


def choose_replicas(devices: str | Sequence[str] | None, *, batch_size: int) -> Replicas:
    """The devices that a spec names.

    Args:
        devices: `all`, names, or None for TensorFlow's first one. All GPUs, or where there is none all processors.
        batch_size: Of the global batch, which is split evenly.

    Raises:
        SpecError: A device is not there, or the batch cannot be split evenly.
    """
    here = device_names()
    if devices is None:
        return OneDevice(name=here[0], chosen=False)
    kind = here[0].partition(":")[0]
    names = [name for name in here if name.startswith(kind)] if devices == "all" else list(devices)
    missing = [name for name in names if name not in here]
    if missing:
        raise SpecError(
            f"there is no {', '.join(missing)}", where="devices", hint=f"This machine has {', '.join(here)}"
        )
    if batch_size % len(names):
        raise SpecError(
            f"is {batch_size}, which {len(names)} devices ({', '.join(names)}) cannot share evenly", where="batch_size"
        )
    return OneDevice(name=names[0], chosen=True) if len(names) == 1 else MirroredDevices(names=names)


def _with_aggregation(make: Callable[..., Any], **how: Any) -> Any:
    """Says what is to become of a value that a layer assigns on every device; Keras leaves that open.

    Moving statistics are averaged; anything else (states of random generators, say) is the same everywhere.
    """
    if how.get("aggregation") in (None, tf.VariableAggregation.NONE):
        dtype = how.get("dtype")
        statistics = not how.get("trainable", True) and dtype is not None and tf.as_dtype(dtype).is_floating
        how["aggregation"] = tf.VariableAggregation.MEAN if statistics else tf.VariableAggregation.ONLY_FIRST_REPLICA
    return make(**how)
