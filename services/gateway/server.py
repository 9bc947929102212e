"""The HTTP server: a socket that is bound before anything else is done, and uvicorn on it."""

import gc
import ipaddress
import socket
import sys
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from services.gateway.connection import Connection
from shared.errors import SettingsError

SWITCH_SECONDS = 0.00005


def bind(host: str, port: int, *, loopback_only: bool = False) -> socket.socket:
    """A socket that listens at host and port; port 0 takes a free one.

    Args:
        host: A name or an address.
        port: Its port.
        loopback_only: Whether addresses that other machines can reach are refused.

    Raises:
        SettingsError: It cannot be had: in use, not this machine's, not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"cannot listen at {host}: {error.strerror}", where="TANDEM_GATEWAY_HOST") from error
    if loopback_only and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        listener.close()
        raise SettingsError(
            f"without API keys it listens to this machine alone, and others can reach {host}",
            where="TANDEM_GATEWAY_HOST",
            hint="Make a key with `tandem keys create NAME --scope control --file FILE` and name the file in "
            "TANDEM_GATEWAY_KEYS, or listen at 127.0.0.1",
        )
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen at {host}:{port}: {error.strerror}",
            where="TANDEM_GATEWAY_PORT",
            hint="Name another port with --port, or stop what listens there",
        ) from error
    return listener


def address(listener: socket.socket) -> str:
    """The URL at which the socket answers."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Says that it stops before it waits for the answers under way: streams would go on for ever."""

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


def serve(app: FastAPI, listener: socket.socket, *, log_level: str, on_stop: Callable[[], None]) -> None:
    """Answers requests until SIGTERM or SIGINT; those under way get ten seconds to end.

    `on_stop` is called in the event loop when that time begins.

    What there is by now stays for good, so the garbage collector is told to pass over it: it would look through all of
    it every few thousand requests, and nobody is answered during those 50 ms.

    Threads that compute hold the interpreter for microseconds; the event loop gives it up to them more often than
    Python's 5 ms, or each batch of a busy gateway would wait for so long before its answers go out.

    uvicorn takes the signals over meanwhile, and afterwards raises them again for the handlers that were there before.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning" if log_level == "info" else log_level,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    _Server(config, on_stop=on_stop).run(sockets=[listener])
