"""What every service exposes about itself: build information, and a /metrics server where it has no other port."""

import platform
from collections.abc import Callable
from importlib import metadata

from prometheus_client import CollectorRegistry, Info, start_http_server


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
