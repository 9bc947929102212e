"""How TensorFlow is told about devices, threads and kernels: by environment variables, before it is imported.

Free of TensorFlow. Without a word from the user, its oneDNN kernels are off on processors without AVX-512 VNNI, though
they are much faster there too; a GPU's memory is taken whole; and a container's limit on processors is not looked at.

oneDNN's kernels are for the processor: where it does the work they are switched on, beside a GPU they are left as
TensorFlow has them. `docs/performance.md` has the measurement.
"""

import os
from collections.abc import Mapping, MutableMapping
from importlib import metadata
from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "gpu"]

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
INTRA_THREADS = "TF_NUM_INTRAOP_THREADS"
INTER_THREADS = "TF_NUM_INTEROP_THREADS"

# Of NVIDIA's driver, of Windows' within WSL, and of AMD's: one is there where there is a GPU.
_GPU_FILES = ("nvidiactl", "dxg", "kfd")

# From newest to oldest; the first one present names the class. Kernels, and so the last bits, differ between classes.
_FEATURES = ("avx512_bf16", "avx512_vnni", "avx512f", "avx2", "avx", "asimd")


def prepare_tensorflow(
    environment: MutableMapping[str, str], *, device: Device, threads: int | None = None, nodes: Path = Path("/dev")
) -> None:
    """Sets what TensorFlow reads when it is imported. What the user has set already is left as it is.

    Args:
        environment: `os.environ`, before TensorFlow is imported.
        device: `cpu` hides every GPU; `auto` and `gpu` leave them visible.
        threads: How many processors to use; None means as many as this process may use.
        nodes: Where the files of drivers are.
    """
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    count = str(threads or available_processors())
    if device != "gpu" and not _gpu_expected(environment, nodes):
        environment.setdefault(ONEDNN, "1")
    environment.setdefault(INTRA_THREADS, count)
    environment.setdefault(INTER_THREADS, count)
    environment.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def trains_on_gpu(environment: Mapping[str, str], *, nodes: Path = Path("/dev")) -> bool:
    """Whether a trainer that is started here can be expected to find a GPU, without importing TensorFlow to see.

    Args:
        environment: `os.environ`; `TANDEM_TRAINER_DEVICE` decides where it is `cpu` or `gpu`.
        nodes: Where the files of drivers are.
    """
    wanted = environment.get("TANDEM_TRAINER_DEVICE", "auto")
    if wanted != "auto":
        return wanted == "gpu"
    return _gpu_expected(environment, nodes) and not _installed("tensorflow-cpu")


def _installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _gpu_expected(environment: Mapping[str, str], nodes: Path) -> bool:
    hidden = environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any((nodes / name).exists() for name in _GPU_FILES)


def available_processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many processors this process may keep busy: its affinity, or its container's quota if that is less."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return max(1, min(count, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return count


def processor_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The newest class of vector instructions that the processor has, or `baseline`."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return "baseline"
    flags = {word for line in text.splitlines() if line.startswith(("flags", "Features")) for word in line.split()}
    return next((feature for feature in _FEATURES if feature in flags), "baseline")
