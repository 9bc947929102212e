"""The pictures that runs are judged by, as PNG. Reads data sets; may write what is derived from them (their cache)."""

import io
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from PIL import Image

from shared.data.examples import Dataset
from shared.errors import NotFoundError
from shared.spec import DatasetSpec


class Pictures:
    """Gives out test pictures. Safe to use from several threads.

    Args:
        open_dataset: Opens a data set; raises DatasetError.
        keep: How many data sets stay open.
    """

    def __init__(self, *, open_dataset: Callable[[DatasetSpec], Dataset], keep: int = 2) -> None:
        self._open = open_dataset
        self._keep = keep
        self._lock = threading.Lock()
        self._datasets: OrderedDict[str, Dataset] = OrderedDict()

    def png(self, spec: DatasetSpec, index: int) -> tuple[bytes, str]:
        """One example of the split that is judged.

        Args:
            spec: Of the run's data set.
            index: Its place in the split, from 0 on.

        Returns:
            A PNG picture of the size that it has in the data set, and a tag that changes when the picture may.

        Raises:
            NotFoundError: There is no such example.
            DatasetError: The data set cannot be used here.
        """
        dataset = self._dataset(spec)
        if index >= len(dataset.test):
            raise NotFoundError(f"there is no example {index}; the last is {len(dataset.test) - 1}", where="index")
        images, _ = dataset.test.gather(np.array([index], np.int64))
        buffer = io.BytesIO()
        Image.fromarray(images[0]).save(buffer, format="png")
        return buffer.getvalue(), f'"{dataset.fingerprint[:16]}-{index}"'

    def _dataset(self, spec: DatasetSpec) -> Dataset:
        key = spec.model_dump_json()
        with self._lock:  # held while one is opened, so that many requests at once open it once
            if key not in self._datasets:
                self._datasets[key] = self._open(spec)
                while len(self._datasets) > self._keep:
                    self._datasets.popitem(last=False)
            self._datasets.move_to_end(key)
            return self._datasets[key]
