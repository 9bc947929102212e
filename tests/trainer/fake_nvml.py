"""NVML as a machine with two GPUs would answer, one of which has fallen off the bus."""

from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    pass


def fake_nvml(*, broken: frozenset[int] = frozenset()) -> Any:
    def handle(number: int) -> int:
        if number in broken:
            raise NVMLError("GPU is lost")
        return number

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=handle,
        nvmlDeviceGetMemoryInfo=lambda number: SimpleNamespace(used=(number + 1) * 10**9, total=24 * 10**9),
        nvmlDeviceGetUtilizationRates=lambda number: SimpleNamespace(gpu=50 + number),
        nvmlSystemGetDriverVersion=lambda: "580.65",
    )
