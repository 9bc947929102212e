"""What the GPUs of this machine are doing, by NVIDIA's management library (NVML), for /metrics.

The library comes with the driver; where either is missing there are simply no GPUs to tell of. TensorFlow is not asked:
it counts its own memory alone, and only this tells how much is left for it.
"""

import contextlib
import logging
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)


class Gpus(Collector):
    """The GPUs as a collector of metrics; asked anew for each scrape.

    Args:
        nvml: The module `pynvml`, initialised, or what stands for it.
    """

    def __init__(self, *, nvml: Any) -> None:
        self._nvml = nvml

    def driver_version(self) -> str:
        """The version of NVIDIA's driver."""
        return str(self._nvml.nvmlSystemGetDriverVersion())

    def collect(self) -> Iterator[Metric]:
        """Memory in bytes and the share of the last second that each GPU was at work; a GPU that fails is left out."""
        used = GaugeMetricFamily("tandem_gpu_memory_used_bytes", "Memory taken, by whomever.", labels=["gpu"])
        total = GaugeMetricFamily("tandem_gpu_memory_total_bytes", "Memory there is.", labels=["gpu"])
        busy = GaugeMetricFamily("tandem_gpu_utilization_ratio", "Share of time with a kernel at work.", labels=["gpu"])
        for number in range(self._nvml.nvmlDeviceGetCount()):
            with contextlib.suppress(self._nvml.NVMLError):
                handle = self._nvml.nvmlDeviceGetHandleByIndex(number)
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
                rates = self._nvml.nvmlDeviceGetUtilizationRates(handle)
                used.add_metric([str(number)], memory.used)
                total.add_metric([str(number)], memory.total)
                busy.add_metric([str(number)], rates.gpu / 100)
        yield from (used, total, busy)


def find_gpus() -> Gpus | None:
    """The GPUs of this machine; None where NVML or the driver is missing."""
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        log.debug("no GPUs to tell of: %s", error)
        return None
    return Gpus(nvml=nvml)
