"""Services as processes of their own, and waiting for what they write."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

DEADLINE = 300.0

T = TypeVar("T")


@contextlib.contextmanager
def program(name: str, *flags: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """One of the services until the block ends, which kills it, unless it has ended.

    Args:
        name: Its module.
        flags: Of its command line.
        settings: Of its environment, which has no others of TensorFlow's or tandem's.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "TANDEM_"))}
    quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(
        [sys.executable, "-m", name, *flags],
        env=inherited | quiet | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def until(value: Callable[[], T | None], what: str, *, within: float = DEADLINE) -> T:
    """Waits for something: until `value` gives it.

    Raises:
        RuntimeError: It has not come `within` so many seconds.
    """
    deadline = time.monotonic() + within
    while (found := value()) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} never came")
        time.sleep(0.05)
    return found
