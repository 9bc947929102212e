"""What every service exposes about itself: build information, and a /metrics server where it has no other port."""

import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, Info, ProcessCollector, start_http_server

NO_LIMIT = 2**60
"""What is at least this many bytes is how the kernel says that there is no limit."""


def version() -> str:
    """The version of tandem that runs; `0+unknown` from a checkout that was not installed."""
    try:
        return metadata.version("tandem")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def add_build_info(registry: CollectorRegistry, *, service: str, **versions: str) -> None:
    """Declares `tandem_build_info` with this service's name and versions."""
    info = Info("tandem_build", "Which tandem runs, and on what.", registry=registry)
    info.info({"service": service, "version": version(), "python": platform.python_version(), **versions})


def add_process(registry: CollectorRegistry, *, cgroup: Path = Path("/sys/fs/cgroup")) -> None:
    """Declares what the process takes (`process_resident_memory_bytes`, …), and how much memory it may take.

    `tandem_memory_limit_bytes` is the container's limit, and is left out where there is none.

    Args:
        registry: Where they are declared.
        cgroup: The container's control groups, of version 2 or 1.
    """
    ProcessCollector(registry=registry)
    limit = memory_limit(cgroup)
    if limit is not None:
        Gauge("tandem_memory_limit_bytes", "Memory that this container may take.", registry=registry).set(limit)


def memory_limit(cgroup: Path) -> int | None:
    """The container's limit of memory in bytes, or None if it has none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = int((cgroup / name).read_text())
        except (OSError, ValueError):
            continue
        return limit if limit < NO_LIMIT else None
    return None


def serve_metrics(registry: CollectorRegistry, *, host: str, port: int) -> tuple[int, Callable[[], None]]:
    """Serves `registry` at /metrics in a thread.

    Args:
        registry: What to serve.
        host: Address to bind.
        port: 0 takes a free one.

    Returns:
        The port that was bound, and a function that stops the server.
    """
    server, thread = start_http_server(port, addr=host, registry=registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return int(server.server_address[1]), stop
