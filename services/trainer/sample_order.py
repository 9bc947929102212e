"""In which order examples are learnt from: a pure function of (seed, position), with nothing to save.

The tutorial filled a shuffle queue and drew from it at random: how well it mixed depended on `min_after_dequeue`, some
examples came twice before others came once, the first batch waited until the queue had filled, and its state was lost
with the process. Here every epoch is a full permutation of the data set, the best mixing there is; each example comes
exactly once an epoch; and any position can be computed at once, so a resumed run goes on with the very next example.
"""

from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from shared.data.examples import Indices


class SampleOrder:
    """The endless sequence of example indices: epoch after epoch, each a permutation of its own.

    A permutation sorts raw Philox words keyed by (seed, epoch). Those words are guaranteed never to change between
    releases of NumPy, which `Generator.permutation` is not.

    Args:
        seed: At least 0, less than 2**64.
        examples: How many examples there are, at least 1.
    """

    def __init__(self, *, seed: int, examples: int) -> None:
        self._seed = seed
        self._examples = examples
        # A batch lies in one epoch or straddles two; the older of them is still asked for by who reads ahead least.
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def indices(self, *, start: int, count: int) -> Indices:
        """The indices at positions `start` to `start + count - 1`: int64 [count]."""
        parts = []
        while count > 0:
            epoch, offset = divmod(start, self._examples)
            part = self._permutation(epoch)[offset : offset + count]
            parts.append(part)
            start += len(part)
            count -= len(part)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def mirrored(self, *, start: int, count: int) -> npt.NDArray[np.bool_]:
        """Whether the examples at positions `start` to `start + count - 1` are shown mirrored, if flips alternate.

        A coin for each example, keyed by the seed, says it for the even epochs; in the odd ones it is the other way.

        Returns:
            bool [count].
        """
        epochs = np.arange(start, start + count, dtype=np.int64) // self._examples
        odd: npt.NDArray[np.bool_] = epochs % 2 == 1
        return odd ^ self._coins[self.indices(start=start, count=count)]

    @cached_property
    def _coins(self) -> npt.NDArray[np.bool_]:
        # A key that no epoch has.
        words = np.random.Philox(key=np.array([self._seed, 2**64 - 1], np.uint64)).random_raw(self._examples)
        heads: npt.NDArray[np.bool_] = words % 2 == 1
        return heads

    def _permute(self, epoch: int) -> Indices:
        words = np.random.Philox(key=np.array([self._seed, epoch], np.uint64)).random_raw(self._examples)
        return np.argsort(words, kind="stable").astype(np.int64, copy=False)
